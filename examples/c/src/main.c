/* A service that greets: `greeter` serves, `greeter --health` asks the one that runs. */

#include "http.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

/* Has signals come in only while we wait, so that none slips in between question and wait. */
static sigset_t held_signals(void) {
    sigset_t stopping, before;
    struct sigaction action = {.sa_handler = stop};
    sigemptyset(&stopping);
    sigaddset(&stopping, SIGTERM);
    sigaddset(&stopping, SIGINT);
    sigprocmask(SIG_BLOCK, &stopping, &before);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return before;
}

static int serve(const struct config *config) {
    sigset_t open = held_signals();
    int listener = http_listen(config->port);
    if (listener < 0) {
        fprintf(stderr, "port %u: %s\n", config->port, strerror(errno));
        return EXIT_FAILURE;
    }
    printf("listening on port %u\n", config->port);
    while (!stopped) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        if (ppoll(&waiting, 1, NULL, &open) <= 0)
            continue;
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0)
            http_answer(connection, config);
    }
    puts("stopped");
    return EXIT_SUCCESS;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *path = getenv("GREETER_CONFIG");
    if (path == NULL)
        path = "/app/greeter.conf";
    struct config config;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return EXIT_FAILURE;
    }
    int is_read = config_read(file, &config);
    fclose(file);
    if (!is_read)
        return EXIT_FAILURE;
    if (count > 1 && strcmp(words[1], "--health") == 0)
        return http_is_healthy(config.port) ? EXIT_SUCCESS : EXIT_FAILURE;
    return serve(&config);
}
