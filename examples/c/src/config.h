#ifndef CONFIG_H
#define CONFIG_H

#include <stdint.h>
#include <stdio.h>

/* What the service is told by its file: a line for each, `name = value`. */
struct config {
    uint16_t port;
    char greeting[256];
};

/* Reads a configuration; false, and a word on standard error, where a line can't be understood. */
int config_read(FILE *file, struct config *config);

#endif
