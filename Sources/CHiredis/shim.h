// What Swift cannot import of hiredis and of Linux by itself.
#pragma once
#include <sys/time.h>

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/// Turns a connected context into one whose reads and writes never block; 0, or -1 with errno.
static inline int chiredis_make_nonblocking(redisContext *context) {
    int flags = fcntl(context->fd, F_GETFL);
    if (flags < 0 || fcntl(context->fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
    context->flags &= ~REDIS_BLOCK;
    return 0;
}

/// Gives up on bytes that are not acknowledged, and on a peer that is silent, within about this time.
static inline int chiredis_bound_silence(int fd, unsigned int milliseconds) {
    int on = 1, idle = (int)(milliseconds / 1000 > 0 ? milliseconds / 1000 : 1);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

static inline redisReply *chiredis_element(const redisReply *reply, size_t index) { return reply->element[index]; }
