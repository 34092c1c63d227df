/* What the job costs a plain C program without a store: consume, call over kept-alive HTTP/1.1, publish the answer with
 * confirm, acknowledge. One thread, epoll, one AMQP connection, CONCURRENCY HTTP connections. It trusts its peers: no
 * validation, no deduplication, no retries, no timeouts, no TLS. The benchmark's yardstick, not a worker.
 * cc -O2 -o reference reference.c $(pkg-config --cflags --libs librabbitmq)                                         */
#define _GNU_SOURCE
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WINDOW = 1 << 16, ANSWER = 16384 };
static struct { int fd, length; bool busy; uint64_t tag; char id[64], correlation[64], org[32], answer[ANSWER]; } *calls;
static int concurrency, idle_count, *idle;
static uint64_t tag_of[WINDOW], next_publish = 1, next_confirm = 1, next_ack = 1, highest_tag;
static bool done[WINDOW];
static amqp_connection_state_t broker;
static const char *results, *token;
static volatile sig_atomic_t ending;

static void end(int number) { (void)number; ending = 1; }
static const char *env(const char *name) { return getenv(name) ? getenv(name) : (errx(2, "%s is not set", name), ""); }
static void check(amqp_rpc_reply_t reply, const char *what) {
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) errx(1, "%s failed", what);
}
static void copy(char *to, size_t room, amqp_bytes_t from) {
    size_t length = from.len < room ? from.len : room - 1;
    memcpy(to, from.bytes, length);
    to[length] = 0;
}
static void header(amqp_table_t *table, const char *name, char *to, size_t room) {
    *to = 0;
    for (int i = 0; i < table->num_entries; i++)
        if (table->entries[i].key.len == strlen(name) && !memcmp(table->entries[i].key.bytes, name, strlen(name)))
            copy(to, room, table->entries[i].value.value.bytes);
}

/* A delivery becomes a request on an idle connection; prefetch equals the connections, so there always is one. */
static void call(uint64_t tag, amqp_basic_properties_t *properties, amqp_bytes_t body) {
    int slot = idle[--idle_count];
    char request[8192], context[96];
    calls[slot].tag = highest_tag = tag;
    calls[slot].length = 0;
    calls[slot].busy = true;
    copy(calls[slot].correlation, sizeof calls[slot].correlation, properties->correlation_id);
    header(&properties->headers, "RequestId", calls[slot].id, sizeof calls[slot].id);
    header(&properties->headers, "OrgId", calls[slot].org, sizeof calls[slot].org);
    header(&properties->headers, "AuthorizationContext", context, sizeof context);
    int length = snprintf(request, sizeof request,
        "POST /api/v1/route HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: reference\r\nAccept: application/json\r\n"
        "Content-Type: application/json\r\nOrgId: %s\r\nAuthorization: Bearer %s\r\nAuthorizationContext: %s\r\n"
        "RequestId: %s\r\nContent-Length: %zu\r\n\r\n%.*s", calls[slot].org, token, context, calls[slot].id, body.len,
        (int)body.len, (char *)body.bytes);
    if (length >= (int)sizeof request || write(calls[slot].fd, request, length) != length) err(1, "write");
}

/* A complete answer is published; false while bytes are missing. */
static bool answered(int slot) {
    char *body = strstr(calls[slot].answer, "\r\n\r\n"), *at = strcasestr(calls[slot].answer, "content-length:"), out[4096];
    if (!body || !at || calls[slot].length < body + 4 - calls[slot].answer + atoi(at + 15)) return false;
    int status = atoi(calls[slot].answer + 9);
    const char *outcome = status / 100 == 2 ? "succeeded" : "rejected";
    int length = snprintf(out, sizeof out,
        "{\"schemaVersion\":1,\"requestId\":\"%s\",\"orgId\":\"%s\",\"command\":\"route\",\"outcome\":\"%s\","
        "\"httpStatus\":%d,\"response\":%s}", calls[slot].id, calls[slot].org, outcome, status, body + 4);
    amqp_table_entry_t entries[2] = {{.key = amqp_cstring_bytes("RequestId")}, {.key = amqp_cstring_bytes("Outcome")}};
    for (int i = 0; i < 2; i++) {
        entries[i].value.kind = AMQP_FIELD_KIND_UTF8;
        entries[i].value.value.bytes = amqp_cstring_bytes(i ? outcome : calls[slot].id);
    }
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
                  AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_HEADERS_FLAG,
        .content_type = amqp_cstring_bytes("application/json"), .delivery_mode = 2,
        .correlation_id = amqp_cstring_bytes(calls[slot].correlation),
        .message_id = amqp_cstring_bytes(calls[slot].id), .headers = {2, entries}};
    tag_of[next_publish++ % WINDOW] = calls[slot].tag;
    amqp_bytes_t bytes = {length, out};
    if (amqp_basic_publish(broker, 1, amqp_empty_bytes, amqp_cstring_bytes(results), 1, 0, &properties, bytes))
        errx(1, "publish failed");
    calls[slot].busy = false;
    idle[idle_count++] = slot;
    return true;
}

static void confirmed(uint64_t number, bool multiple) {
    for (uint64_t at = multiple ? next_confirm : number; at <= number; at++)
        if (tag_of[at % WINDOW] >= next_ack) done[tag_of[at % WINDOW] % WINDOW] = true;
    if (number >= next_confirm && (multiple || number == next_confirm)) next_confirm = number + 1;
}

/* Every frame that is there. Bodies of this benchmark fit into one frame. */
static void read_broker(void) {
    static uint64_t tag;
    static amqp_basic_properties_t properties;
    amqp_frame_t frame;
    struct timeval now = {0, 0};
    int status;
    while ((status = amqp_simple_wait_frame_noblock(broker, &frame, &now)) == AMQP_STATUS_OK) {
        if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD)
            tag = ((amqp_basic_deliver_t *)frame.payload.method.decoded)->delivery_tag;
        else if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            amqp_basic_ack_t *ack = frame.payload.method.decoded;
            confirmed(ack->delivery_tag, ack->multiple);
        } else if (frame.frame_type == AMQP_FRAME_METHOD) errx(1, "the broker closed, returned or refused something");
        else if (frame.frame_type == AMQP_FRAME_HEADER)
            properties = *(amqp_basic_properties_t *)frame.payload.properties.decoded;
        else if (frame.frame_type == AMQP_FRAME_BODY) {
            call(tag, &properties, frame.payload.body_fragment);
            amqp_maybe_release_buffers(broker);
        }
    }
    if (status != AMQP_STATUS_TIMEOUT) errx(1, "lost the broker");
    uint64_t last = next_ack;
    while (last <= highest_tag && done[last % WINDOW]) done[last++ % WINDOW] = false;
    if (last > next_ack) {
        if (amqp_basic_ack(broker, 1, last - 1, 1)) errx(1, "ack failed");
        next_ack = last;
    }
}

int main(void) {
    struct amqp_connection_info info;
    char *url = strdup(env("AMQP_URL"));
    if (amqp_parse_url(url, &info)) errx(2, "AMQP_URL");
    concurrency = atoi(env("CONCURRENCY"));
    results = env("RESULTS_QUEUE"), token = env("API_TOKEN");
    broker = amqp_new_connection();
    if (amqp_socket_open(amqp_tcp_socket_new(broker), info.host, info.port)) errx(1, "no broker");
    check(amqp_login(broker, info.vhost, 0, 131072, 30, AMQP_SASL_METHOD_PLAIN, info.user, info.password), "login");
    amqp_channel_open(broker, 1), check(amqp_get_rpc_reply(broker), "channel.open");
    amqp_confirm_select(broker, 1), check(amqp_get_rpc_reply(broker), "confirm.select");

    struct sockaddr_in api = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    api.sin_port = htons(atoi(strrchr(env("API_URL"), ':') + 1));
    int poller = epoll_create1(0), one = 1;
    calls = calloc(concurrency, sizeof *calls), idle = calloc(concurrency, sizeof *idle);
    for (int i = 0; i <= concurrency; i++) {
        int fd = i < concurrency ? socket(AF_INET, SOCK_STREAM, 0) : amqp_get_sockfd(broker);
        if (i < concurrency) {
            if (connect(fd, (struct sockaddr *)&api, sizeof api)) err(1, "connect");
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            calls[i].fd = fd, idle[idle_count++] = i;
        }
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = i});
    }
    signal(SIGTERM, end);
    amqp_basic_qos(broker, 1, 0, concurrency, 0), check(amqp_get_rpc_reply(broker), "qos");
    amqp_basic_consume(broker, 1, amqp_cstring_bytes(env("COMMANDS_QUEUE")), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(amqp_get_rpc_reply(broker), "consume");
    struct epoll_event events[128];
    while (!ending || next_ack <= highest_tag) {
        read_broker();
        int count = epoll_wait(poller, events, 128, 1000);
        for (int i = 0; i < count; i++) {
            int slot = events[i].data.u32;
            if (slot == concurrency) continue;
            ssize_t got = read(calls[slot].fd, calls[slot].answer + calls[slot].length, ANSWER - 1 - calls[slot].length);
            if (got <= 0 || !calls[slot].busy) errx(1, "the API closed a connection");
            calls[slot].length += got;
            calls[slot].answer[calls[slot].length] = 0;
            answered(slot);
        }
    }
    return 0;
}
