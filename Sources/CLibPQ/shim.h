// libpq, with the one thing that Swift cannot say by itself.
#pragma once
#include <libpq-fe.h>

static inline void clibpq_ignore_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

/// Keeps the server's notices off stderr, where libpq prints them.
static inline void clibpq_silence_notices(PGconn *connection) {
    PQsetNoticeProcessor(connection, clibpq_ignore_notice, 0);
}
