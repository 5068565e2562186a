// A program for the tests, small enough to read whole: no libc, no data segment, no relocation.
//
//   hello            prints "hello from ocibuild, uid N", N being the real user id; exits 0
//   hello --check    the same, then exits 3 if the CA bundle can't be read, 4 if the zone UTC can't
//
// Exit code 1: the line couldn't be written. hello-x86_64.s is the same program.

        .set    SYS_faccessat, 48
        .set    SYS_writev, 66
        .set    SYS_exit, 93
        .set    SYS_getuid, 174
        .set    AT_FDCWD, -100
        .set    R_OK, 4

        .text
        .globl  _start
_start:
        ldr     x19, [sp]               // argc
        ldr     x20, [sp, #16]          // argv[1]

        mov     x8, #SYS_getuid
        svc     #0

        // 64 bytes of stack: two iovecs at the bottom; the digits grow downwards from the top.
        sub     sp, sp, #64
        add     x1, sp, #63
        mov     w2, #'\n'
        strb    w2, [x1]
        mov     w3, #10
digit:
        udiv    w4, w0, w3
        msub    w5, w4, w3, w0
        add     w5, w5, #'0'
        strb    w5, [x1, #-1]!
        mov     w0, w4
        cbnz    w0, digit

        add     x2, sp, #64
        sub     x2, x2, x1
        stp     x1, x2, [sp, #16]
        adr     x1, greeting
        mov     x2, #greeting_size
        stp     x1, x2, [sp]

        mov     x0, #1
        mov     x1, sp
        mov     x2, #2
        mov     x8, #SYS_writev
        svc     #0
        mov     x21, #1
        tbnz    x0, #63, exit

        mov     x21, #0
        cmp     x19, #2
        b.lo    exit
        // "--check" and its NUL are eight bytes. Reading eight from a shorter argument stays in the
        // stack: the program's path and eight zero bytes always lie above the arguments.
        ldr     x1, check
        ldr     x2, [x20]
        cmp     x1, x2
        b.ne    exit

        adr     x1, bundle
        bl      readable
        mov     x21, #3
        tbnz    x0, #63, exit
        adr     x1, zone
        bl      readable
        mov     x21, #4
        tbnz    x0, #63, exit
        mov     x21, #0
exit:
        mov     x0, x21
        mov     x8, #SYS_exit
        svc     #0

// x1: path. Leaves x0 negative if the file can't be read.
readable:
        mov     x0, #AT_FDCWD
        mov     x2, #R_OK
        mov     x8, #SYS_faccessat
        svc     #0
        ret

        .balign 8                       // a literal is loaded from a multiple of four
check:  .asciz  "--check"
greeting:
        .ascii  "hello from ocibuild, uid "
        .set    greeting_size, . - greeting
bundle: .asciz  "/etc/ssl/certs/ca-certificates.crt"
zone:   .asciz  "/usr/share/zoneinfo/UTC"
