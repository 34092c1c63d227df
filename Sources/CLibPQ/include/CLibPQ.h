// libpq, loaded when it is first used: it brings twenty libraries, which a worker with another store can do without.
#pragma once

#if __has_include(<postgresql/libpq-fe.h>)
#include <postgresql/libpq-fe.h>
#else
#include <libpq-fe.h>
#endif

/// Loads the library; before it, no other function may be called. From any thread, as often as one likes.
/// @return nothing, or why it cannot be loaded.
const char *clibpq_load(void);

static inline void clibpq_ignore_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

/// Keeps the server's notices off stderr, where libpq prints them.
static inline void clibpq_silence_notices(PGconn *connection) {
    PQsetNoticeProcessor(connection, clibpq_ignore_notice, 0);
}
