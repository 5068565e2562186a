/* Tests of what can be wrong in a configuration. */

#include "config.h"

#include <stdlib.h>
#include <string.h>

static void check(int is_true, const char *what) {
    if (!is_true) {
        fprintf(stderr, "FAILED: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static int read_text(char *text, struct config *config) {
    FILE *file = fmemopen(text, strlen(text), "r");
    check(file != NULL, "a text can be read like a file");
    int is_read = config_read(file, config);
    fclose(file);
    return is_read;
}

int main(void) {
    struct config config;
    char good[] = "# a comment\n\n port = 81 \ngreeting = good day\n";
    check(read_text(good, &config), "a sound file is read");
    check(config.port == 81, "the port is read");
    check(strcmp(config.greeting, "good day") == 0, "the greeting is read");
    char unknown[] = "colour = red\n", large[] = "port = 65536\n", empty[] = "port =\n";
    check(!read_text(unknown, &config), "an unknown name is refused");
    check(!read_text(large, &config), "a port that isn't one is refused");
    check(!read_text(empty, &config), "an empty port is refused");
    puts("all is well");
}
