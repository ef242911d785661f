/* The sample app of `keystone demo`: one static binary that is a whole image.
 *
 * GET /health   200
 * GET anything  which version this is, and the commit it was built from
 *
 * Serves one request after the other on $PORT. After SIGTERM it answers whoever is already in line
 * and exits 0.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { LOOK_EVERY_MS = 100, REQUEST_LIMIT = 8192 };

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static const char *read_version(void) {
    static char version[200];
    FILE *file = fopen("/version.txt", "r");
    if (!file || !fgets(version, sizeof version, file)) strcpy(version, "an unknown version\n");
    if (file) fclose(file);
    version[strcspn(version, "\n")] = 0;
    return version;
}

static int read_request(int client, char *request) {
    size_t length = 0;
    while (length < REQUEST_LIMIT - 1) {
        ssize_t step = recv(client, request + length, REQUEST_LIMIT - 1 - length, 0);
        if (step <= 0) return 0;
        length += step;
        request[length] = 0;
        if (strstr(request, "\r\n\r\n")) return 1;
    }
    return 0;
}

static void answer(int client, const char *version) {
    char request[REQUEST_LIMIT] = "", body[400], response[800];
    struct timeval patience = {.tv_sec = 2};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!read_request(client, request)) return;
    const char *commit = getenv("KEYSTONE_COMMIT");
    if (strncmp(request, "GET /health ", 12) == 0)
        snprintf(body, sizeof body, "ok\n");
    else
        snprintf(body, sizeof body, "Hello, this is %s, built from commit %.64s\n", version,
                 commit ? commit : "unknown");
    int length = snprintf(response, sizeof response,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s", strlen(body), body);
    if (send(client, response, length, MSG_NOSIGNAL) < 0) perror("send");
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror("cannot listen");
        exit(1);
    }
    return listener;
}

static void answer_all(int listener, const char *version) {
    int client;
    while ((client = accept(listener, NULL, NULL)) >= 0) {
        answer(client, version);
        close(client);
    }
}

int main(void) {
    struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *port = getenv("PORT") ? getenv("PORT") : "8000", *version = read_version();
    struct pollfd listener = {.fd = listen_on(atoi(port)), .events = POLLIN};
    printf("%s listens on %s\n", version, port);
    while (!stopping) {
        poll(&listener, 1, LOOK_EVERY_MS);
        answer_all(listener.fd, version);
    }
    answer_all(listener.fd, version);
    printf("stopped\n");
    return 0;
}
