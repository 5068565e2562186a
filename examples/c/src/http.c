#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 8192, SECONDS = 5 };

static struct sockaddr_in address(uint32_t host, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(host);
    return address;
}

int http_listen(uint16_t port) {
    struct sockaddr_in any = address(INADDR_ANY, port);
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) == 0 && listen(listener, 64) == 0)
        return listener;
    close(listener);
    return -1;
}

/* A peer that says nothing, or doesn't listen, is waited for so long. */
static void be_patient(int connection) {
    struct timeval limit = {.tv_sec = SECONDS};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int send_all(int connection, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(connection, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return 0;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static void respond(int connection, const char *status, const char *body) {
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                          status, strlen(body));
    if (send_all(connection, head, (size_t)length))
        send_all(connection, body, strlen(body));
}

/* Reads up to the empty line that ends a head; false where there is none. */
static int read_head(int connection, char *head, size_t size) {
    size_t length = 0;
    while (length + 1 < size) {
        ssize_t received = recv(connection, head + length, size - 1 - length, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return 0;
        length += (size_t)received;
        head[length] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL)
            return 1;
    }
    return 0;
}

static int begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

void http_answer(int connection, const struct config *config) {
    char head[REQUEST_BYTES];
    be_patient(connection);
    if (!read_head(connection, head, sizeof head)) {
        respond(connection, "400 Bad Request", "that is no request\n");
    } else if (!begins(head, "GET ")) {
        respond(connection, "405 Method Not Allowed", "only GET is understood\n");
    } else if (begins(head, "GET /health ")) {
        respond(connection, "200 OK", "ok\n");
    } else if (begins(head, "GET / ")) {
        char body[sizeof config->greeting + 1];
        snprintf(body, sizeof body, "%s\n", config->greeting);
        respond(connection, "200 OK", body);
    } else {
        respond(connection, "404 Not Found", "there is nothing here\n");
    }
    close(connection);
}

int http_is_healthy(uint16_t port) {
    static const char request[] = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct sockaddr_in local = address(INADDR_LOOPBACK, port);
    char head[REQUEST_BYTES];
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0)
        return 0;
    be_patient(connection);
    int healthy = connect(connection, (struct sockaddr *)&local, sizeof local) == 0 &&
                  send_all(connection, request, sizeof request - 1) &&
                  read_head(connection, head, sizeof head) && begins(head, "HTTP/1.1 200 ");
    close(connection);
    return healthy;
}
