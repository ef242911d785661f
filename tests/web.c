/* A web server for tests: one static binary that is a whole image.
 *
 *   web                  serve HTTP on $PORT (8000) until SIGTERM, then finish what runs and exit 0
 *   web sleep SECONDS    do nothing for that long, or until SIGUSR1
 *   web exit CODE        say so and exit
 *   web say TEXT         print a line
 *   web cat FILE         print a file
 *   web write FILE TEXT  make a file
 *   web eat MB           use that much memory, then say so and wait
 *   web fork N           have N children at once, which live for FORK_SECONDS; say so, and wait for
 *                        them; when one cannot be had, say so, end the others and exit 1
 *   web at ADDRESS PORT  listen there, by IPv6 alone if it is such an address, and never answer;
 *                        more pairs may follow
 *   web list FOLDER      print every path below a folder, with its kind and permissions
 *
 * IDLE_MS in the environment: close a connection on which no further request comes for that long.
 *
 * GET /health            200, or 503 when told to be unhealthy
 * GET /version, GET /    the content of /version.txt
 * GET /assets/FILE       the content of /version.txt if that is FILE, or 404
 * GET /slow?ms=N         200 after N milliseconds
 * GET /env?NAME          the value of an environment variable, or 404
 * GET /say?TEXT          print TEXT to standard output
 * GET /echo              send every byte back that comes, as a WebSocket's tunnel does
 * GET /exit?code=N       exit at once
 * GET /die               send half an answer and exit
 * GET /posts             how many POSTs were answered
 * GET /eat?mb=N          use that much memory for good
 *
 * The file /behaviour says what to do wrong: "exit N", "mute" (accept and never answer),
 * "unhealthy", "deaf" (never listen), "late N" (listen after N milliseconds), "eat N" (use N MB
 * of memory before listening), "dies N" (serve, and exit with code 9 after N milliseconds).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_LIMIT = 64 * 1024, STOP_DEADLINE_MS = 60 * 1000, FORK_SECONDS = 10 };

static atomic_int running;   /* requests that are being answered */
static atomic_int stopping;  /* SIGTERM was received */
static int wake[2];          /* the signal handler writes here */
static atomic_long posts;    /* POSTs that were answered */
static int mute, unhealthy, idle_ms;

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

static void eat(long megabytes) {
    for (long eaten = 0; eaten < megabytes; eaten++) {
        char *bite = malloc(1 << 20);
        if (!bite) exit(1);
        memset(bite, 1, 1 << 20); /* memory counts once it is written to */
        __asm__ volatile("" : : "r"(bite) : "memory"); /* no compiler may leave that out */
    }
}

static size_t read_file(const char *path, char *into, size_t size) {
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(into, 1, size - 1, file) : 0;
    if (file) fclose(file);
    into[length] = 0;
    return length;
}

static void wake_up(int number) {
    (void)number;
    _exit(0);
}

static void on_signal(int number) {
    (void)number;
    stopping = 1;
    if (write(wake[1], "x", 1) < 0) _exit(1);
}

static void respond(int client, int status, const char *body, int keep_alive) {
    char answer[REQUEST_LIMIT];
    int length = snprintf(answer, sizeof answer,
        "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n%s",
        status, status == 200 ? "OK" : "Not OK", strlen(body), keep_alive ? "keep-alive" : "close", body);
    for (int sent = 0; sent < length;) {
        ssize_t step = send(client, answer + sent, length - sent, MSG_NOSIGNAL);
        if (step <= 0) return;
        sent += step;
    }
}

/* The bytes in a WebSocket's tunnel mean nothing to those it leads through: any will do. They do
 * check the greeting, though: this is the answer to the key in RFC 6455's example, section 1.3. */
static void echo(int client) {
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char bytes[4096];
    ssize_t length = sizeof switching - 1;
    memcpy(bytes, switching, length);
    while (length > 0 && send(client, bytes, length, MSG_NOSIGNAL) == length) {
        length = recv(client, bytes, sizeof bytes, 0);
    }
    shutdown(client, SHUT_RDWR);
}

static void *die(void *after_ms) {
    sleep_ms((long)after_ms);
    fprintf(stderr, "told to die by now\n");
    exit(9);
}

static void answer(int client, char *path, int keep_alive) {
    char version[4096];
    char *query = strchr(path, '?');
    if (query) *query++ = 0; else query = "";
    if (!strcmp(path, "/health")) {
        respond(client, unhealthy ? 503 : 200, unhealthy ? "unhealthy\n" : "ok\n", keep_alive);
    } else if (!strcmp(path, "/version") || !strcmp(path, "/")) {
        read_file("/version.txt", version, sizeof version);
        respond(client, 200, version, keep_alive);
    } else if (!strncmp(path, "/assets/", 8)) {
        read_file("/version.txt", version, sizeof version);
        int is_there = !strcmp(path + 8, version);
        respond(client, is_there ? 200 : 404, is_there ? version : "not found\n", keep_alive);
    } else if (!strcmp(path, "/slow")) {
        sleep_ms(strncmp(query, "ms=", 3) ? 1000 : atol(query + 3));
        respond(client, 200, "done\n", keep_alive);
    } else if (!strcmp(path, "/env")) {
        char *value = getenv(query);
        respond(client, value ? 200 : 404, value ? value : "not set\n", keep_alive);
    } else if (!strcmp(path, "/say")) {
        printf("%s\n", query);
        respond(client, 200, "said\n", keep_alive);
    } else if (!strcmp(path, "/eat")) {
        eat(strncmp(query, "mb=", 3) ? 0 : atol(query + 3));
        respond(client, 200, "eaten\n", keep_alive);
    } else if (!strcmp(path, "/echo")) {
        echo(client);
    } else if (!strcmp(path, "/posts")) {
        snprintf(version, sizeof version, "%ld\n", (long)posts);
        respond(client, 200, version, keep_alive);
    } else if (!strcmp(path, "/die")) {
        static const char half[] = "HTTP/1.1 200 OK\r\nContent-Len";
        if (send(client, half, sizeof half - 1, MSG_NOSIGNAL) < 0) _exit(1);
        _exit(0);
    } else if (!strcmp(path, "/exit")) {
        _exit(strncmp(query, "code=", 5) ? 1 : atoi(query + 5));
    } else {
        respond(client, 404, "not found\n", keep_alive);
    }
}

/* Drop the request that was answered, body included, and keep what came after it. */
static size_t drop_request(int client, char *buffer, size_t length, size_t head, size_t body) {
    size_t whole = head + body;
    if (whole <= length) {
        memmove(buffer, buffer + whole, length - whole + 1);
        return length - whole;
    }
    for (size_t left = whole - length; left > 0;) {
        char waste[4096];
        ssize_t step = recv(client, waste, left < sizeof waste ? left : sizeof waste, 0);
        if (step <= 0) break;
        left -= step;
    }
    buffer[0] = 0;
    return 0;
}

static void *serve_client(void *argument) {
    int client = (int)(long)argument;
    char *buffer = malloc(REQUEST_LIMIT), method[16] = "", path[2048];
    size_t length = 0;
    int keep_alive = 1;
    struct timeval idle = {idle_ms / 1000, idle_ms % 1000 * 1000}; /* zero: no limit */
    buffer[0] = 0;
    while (keep_alive) {
        char *end;
        while (!(end = strstr(buffer, "\r\n\r\n"))) {
            ssize_t step = recv(client, buffer + length, REQUEST_LIMIT - 1 - length, 0);
            if (step <= 0) goto done;
            length += step;
            buffer[length] = 0;
        }
        if (mute) { pause(); continue; }
        running++;
        size_t head = end + 4 - buffer;
        char *declared = strcasestr(buffer, "\r\nContent-Length:");
        size_t body = declared && declared < end ? strtoul(declared + 17, NULL, 10) : 0;
        if (sscanf(buffer, "%15s %2047s", method, path) != 2) strcpy(path, "/bad");
        char *closing = strcasestr(buffer, "\r\nConnection: close");
        keep_alive = !(closing && closing < end) && !strstr(buffer, " HTTP/1.0\r\n");
        length = drop_request(client, buffer, length, head, body);
        if (!strncmp(method, "POST", 4)) posts++;
        answer(client, path, keep_alive && !stopping);
        keep_alive = keep_alive && !stopping;
        if (idle_ms) setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
        running--;
    }
done:
    close(client);
    free(buffer);
    return NULL;
}

static void start_client(int client) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve_client, (void *)(long)client)) close(client);
    pthread_attr_destroy(&attributes);
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("cannot listen");
        exit(1);
    }
    return listener;
}

static int listen_at(int count, char **pairs) {
    for (int n = 0; n + 1 < count; n += 2) {
        int port = htons(atoi(pairs[n + 1])), yes = 1;
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = port};
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = port};
        int is_four = inet_pton(AF_INET, pairs[n], &four.sin_addr);
        int listener = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM, 0);
        if (!is_four) {
            inet_pton(AF_INET6, pairs[n], &six.sin6_addr);
            setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
        }
        struct sockaddr *address = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
        if (bind(listener, address, is_four ? sizeof four : sizeof six) || listen(listener, 9)) {
            perror("cannot listen");
            return 1;
        }
    }
    printf("listening\n");
    while (!stopping) pause();
    return 0;
}

static void accept_all(int listener) {
    int client;
    while ((client = accept(listener, NULL, NULL)) >= 0) start_client(client);
}

static int serve(void) {
    const char *port = getenv("PORT") ? getenv("PORT") : "8000";
    idle_ms = getenv("IDLE_MS") ? atoi(getenv("IDLE_MS")) : 0;
    int listener = listen_on(atoi(port));
    printf("listening on %s\n", port);
    struct pollfd both[2] = {{listener, POLLIN, 0}, {wake[0], POLLIN, 0}};
    while (!stopping) {
        poll(both, 2, -1);
        accept_all(listener);
    }
    accept_all(listener);
    close(listener);
    sleep_ms(20); /* what was just accepted shall count as running */
    for (int waited = 0; running && waited < STOP_DEADLINE_MS; waited += 5) sleep_ms(5);
    printf("stopped\n");
    return 0;
}

static int list_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)place;
    printf("%s %c %o\n", path, kind == FTW_SL ? 'l' : kind == FTW_D ? 'd' : 'f', status->st_mode & 0777);
    return 0;
}

static int fork_many(long wanted) {
    signal(SIGTERM, SIG_IGN); /* for the children only */
    for (long made = 0; made < wanted; made++) {
        pid_t child = fork();
        if (child < 0) {
            fprintf(stderr, "cannot fork: %s\n", strerror(errno));
            kill(-1, SIGKILL); /* all that this process namespace has; we are its first process */
            return 1;
        }
        if (!child) { /* each eats the processor as well, and none outlives its time */
            alarm(FORK_SECONDS);
            for (;;) {}
        }
    }
    printf("forked %ld\n", wanted);
    while (wait(NULL) > 0) {}
    return 0;
}

static int command(int count, char **words) {
    const char *first = count > 2 ? words[2] : "";
    if (!strcmp(words[1], "sleep")) { signal(SIGUSR1, wake_up); sleep_ms(atol(first) * 1000); return 0; }
    if (!strcmp(words[1], "exit")) { printf("exiting with code %s\n", first); return atoi(first); }
    if (!strcmp(words[1], "eat")) { eat(atol(first)); printf("eaten %s MB\n", first); pause(); return 0; }
    if (!strcmp(words[1], "fork")) return fork_many(atol(first));
    if (!strcmp(words[1], "at")) return listen_at(count - 2, words + 2);
    if (!strcmp(words[1], "say")) { printf("%s\n", first); return 0; }
    if (!strcmp(words[1], "list")) return nftw(first, list_entry, 16, FTW_PHYS) ? 1 : 0;
    if (!strcmp(words[1], "cat")) {
        static char content[1 << 20];
        if (!read_file(first, content, sizeof content)) { perror(first); return 1; }
        fputs(content, stdout);
        return 0;
    }
    if (!strcmp(words[1], "write")) {
        FILE *file = fopen(first, "w");
        if (!file || count < 4 || fputs(words[3], file) < 0) { perror(first); return 1; }
        return fclose(file) ? 1 : 0;
    }
    fprintf(stderr, "unknown command %s\n", words[1]);
    return 64;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1) return command(count, words);
    char behaviour[256];
    read_file("/behaviour", behaviour, sizeof behaviour);
    if (pipe(wake)) return 1;
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    if (!strncmp(behaviour, "exit ", 5)) {
        fprintf(stderr, "told to exit with code %d\n", atoi(behaviour + 5));
        return atoi(behaviour + 5);
    }
    if (!strncmp(behaviour, "eat ", 4)) eat(atol(behaviour + 4));
    if (!strncmp(behaviour, "late ", 5)) sleep_ms(atol(behaviour + 5));
    if (!strncmp(behaviour, "deaf", 4)) {
        printf("never listening\n");
        while (!stopping) pause();
        return 0;
    }
    pthread_t death;
    if (!strncmp(behaviour, "dies ", 5)) pthread_create(&death, NULL, die, (void *)atol(behaviour + 5));
    mute = !strncmp(behaviour, "mute", 4);
    unhealthy = !strncmp(behaviour, "unhealthy", 9);
    return serve();
}
