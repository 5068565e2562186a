# A program for the tests, small enough to read whole: no libc, no data segment, no relocation.
#
#   hello            prints "hello from ocibuild, uid N", N being the real user id; exits 0
#   hello --check    the same, then exits 3 if the CA bundle can't be read, 4 if the zone UTC can't
#
# Exit code 1: the line couldn't be written. hello-aarch64.s is the same program.

        .intel_syntax noprefix

        .set    SYS_writev, 20
        .set    SYS_exit, 60
        .set    SYS_getuid, 102
        .set    SYS_faccessat, 269
        .set    AT_FDCWD, -100
        .set    R_OK, 4

        .text
        .globl  _start
_start:
        mov     rbx, [rsp]              # argc
        mov     rbp, [rsp + 16]         # argv[1]

        mov     eax, SYS_getuid
        syscall

        # 64 bytes of stack: two iovecs at the bottom; the digits grow downwards from the top.
        sub     rsp, 64
        lea     rsi, [rsp + 63]
        mov     byte ptr [rsi], '\n'
        mov     ecx, 10
digit:
        xor     edx, edx
        div     ecx
        add     dl, '0'
        dec     rsi
        mov     [rsi], dl
        test    eax, eax
        jnz     digit

        lea     rdx, [rsp + 64]
        sub     rdx, rsi
        mov     [rsp + 16], rsi
        mov     [rsp + 24], rdx
        lea     rax, [rip + greeting]
        mov     [rsp], rax
        mov     qword ptr [rsp + 8], offset greeting_size

        mov     edi, 1
        mov     rsi, rsp
        mov     edx, 2
        mov     eax, SYS_writev
        syscall
        mov     edi, 1
        test    rax, rax
        js      exit

        xor     edi, edi
        cmp     rbx, 2
        jb      exit
        # "--check" and its NUL are eight bytes. Reading eight from a shorter argument stays in the
        # stack: the program's path and eight zero bytes always lie above the arguments.
        mov     rax, [rip + check]
        cmp     [rbp], rax
        jne     exit

        lea     rsi, [rip + bundle]
        call    readable
        mov     edi, 3
        js      exit
        lea     rsi, [rip + zone]
        call    readable
        mov     edi, 4
        js      exit
        xor     edi, edi
exit:
        mov     eax, SYS_exit
        syscall

# rsi: path. Sets the sign flag if the file can't be read.
readable:
        mov     edi, AT_FDCWD
        mov     edx, R_OK
        mov     eax, SYS_faccessat
        syscall
        test    rax, rax
        ret

greeting:
        .ascii  "hello from ocibuild, uid "
        .set    greeting_size, . - greeting
check:  .asciz  "--check"
bundle: .asciz  "/etc/ssl/certs/ca-certificates.crt"
zone:   .asciz  "/usr/share/zoneinfo/UTC"
