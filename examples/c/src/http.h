#ifndef HTTP_H
#define HTTP_H

#include "config.h"

/* Opens the port, or gives -1. */
int http_listen(uint16_t port);

/* Reads one request of a connection, answers it, and closes the connection. */
void http_answer(int connection, const struct config *config);

/* Asks the service on this machine whether it is well. */
int http_is_healthy(uint16_t port);

#endif
