// What Swift cannot import of librabbitmq and of Linux by itself: variadic functions, and headers outside its modules.
#pragma once
#include <sys/time.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

/// `amqp_login_with_properties` with SASL PLAIN.
static inline amqp_rpc_reply_t crabbitmq_login_plain(amqp_connection_state_t state, const char *vhost, int frame_max,
                                                     int heartbeat, const amqp_table_t *properties, const char *user,
                                                     const char *password) {
    return amqp_login_with_properties(state, vhost, AMQP_DEFAULT_MAX_CHANNELS, frame_max, heartbeat, properties,
                                      AMQP_SASL_METHOD_PLAIN, user, password);
}

/// Names the calling thread; 15 bytes count.
static inline int crabbitmq_name_thread(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

/// A non-blocking eventfd that is closed on exec; -1 when there is none to be had.
static inline int crabbitmq_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static inline int crabbitmq_eventfd_signal(int fd) { return eventfd_write(fd, 1); }

static inline int crabbitmq_eventfd_clear(int fd) {
    eventfd_t value;
    return eventfd_read(fd, &value);
}

static inline int crabbitmq_tcp_user_timeout(int fd, unsigned int milliseconds) {
    return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

/// While on, only full segments leave; turning it off sends the rest.
static inline int crabbitmq_tcp_cork(int fd, int on) { return setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

static inline int crabbitmq_send_timeout(int fd, long seconds) {
    struct timeval timeout = {seconds, 0};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

static inline int crabbitmq_keepalive(int fd, int idle_seconds) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
    return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}
