#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static char *trimmed(char *text) {
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return text;
}

static int set(struct config *config, const char *name, const char *value) {
    if (strcmp(name, "port") == 0) {
        char *end;
        long port = strtol(value, &end, 10);
        if (end == value || *end != '\0' || port < 1 || port > UINT16_MAX)
            return 0;
        config->port = (uint16_t)port;
        return 1;
    }
    if (strcmp(name, "greeting") == 0) {
        if (strlen(value) >= sizeof config->greeting)
            return 0;
        strcpy(config->greeting, value);
        return 1;
    }
    return 0;
}

int config_read(FILE *file, struct config *config) {
    *config = (struct config){.port = 8080, .greeting = "hello"};
    char line[512];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        char *name = trimmed(line);
        if (*name == '\0' || *name == '#')
            continue;
        char *equals = strchr(name, '=');
        if (equals != NULL)
            *equals = '\0';
        if (equals == NULL || !set(config, trimmed(name), trimmed(equals + 1))) {
            fprintf(stderr, "line %d of the configuration can't be understood\n", number);
            return 0;
        }
    }
    return !ferror(file);
}
