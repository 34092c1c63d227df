// Each function of libpq that is used, under its own name: its declaration stays the library's, its place is asked for.

#include "CLibPQ.h"

#include <dlfcn.h>
#include <pthread.h>

// The version of the library's interface, unchanged since PostgreSQL 8.2.
#define LIBRARY "libpq.so.5"

#define FUNCTIONS(F) \
    F(void, PQclear, (PGresult *a), (a)) \
    F(PostgresPollingStatusType, PQconnectPoll, (PGconn *a), (a)) \
    F(PGconn *, PQconnectStartParams, (const char *const *a, const char *const *b, int c), (a, b, c)) \
    F(void, PQconninfoFree, (PQconninfoOption *a), (a)) \
    F(PQconninfoOption *, PQconninfoParse, (const char *a, char **b), (a, b)) \
    F(int, PQconsumeInput, (PGconn *a), (a)) \
    F(int, PQenterPipelineMode, (PGconn *a), (a)) \
    F(char *, PQerrorMessage, (const PGconn *a), (a)) \
    F(void, PQfinish, (PGconn *a), (a)) \
    F(int, PQflush, (PGconn *a), (a)) \
    F(void, PQfreemem, (void *a), (a)) \
    F(int, PQgetisnull, (const PGresult *a, int b, int c), (a, b, c)) \
    F(int, PQgetlength, (const PGresult *a, int b, int c), (a, b, c)) \
    F(PGresult *, PQgetResult, (PGconn *a), (a)) \
    F(char *, PQgetvalue, (const PGresult *a, int b, int c), (a, b, c)) \
    F(int, PQisBusy, (PGconn *a), (a)) \
    F(int, PQnfields, (const PGresult *a), (a)) \
    F(int, PQntuples, (const PGresult *a), (a)) \
    F(int, PQpipelineSync, (PGconn *a), (a)) \
    F(char *, PQresultErrorField, (const PGresult *a, int b), (a, b)) \
    F(ExecStatusType, PQresultStatus, (const PGresult *a), (a)) \
    F(int, PQsendPrepare, (PGconn *a, const char *b, const char *c, int d, const Oid *e), (a, b, c, d, e)) \
    F(int, PQsendQueryParams, \
      (PGconn *a, const char *b, int c, const Oid *d, const char *const *e, const int *f, const int *g, int h), \
      (a, b, c, d, e, f, g, h)) \
    F(int, PQsendQueryPrepared, \
      (PGconn *a, const char *b, int c, const char *const *d, const int *e, const int *f, int g), \
      (a, b, c, d, e, f, g)) \
    F(PQnoticeProcessor, PQsetNoticeProcessor, (PGconn *a, PQnoticeProcessor b, void *c), (a, b, c)) \
    F(int, PQsetnonblocking, (PGconn *a, int b), (a, b)) \
    F(int, PQsocket, (const PGconn *a), (a)) \
    F(ConnStatusType, PQstatus, (const PGconn *a), (a))

static struct {
#define PLACE(result, name, parameters, arguments) __typeof__(&name) name;
    FUNCTIONS(PLACE)
} library;

#define FORWARD(result, name, parameters, arguments) \
    result name parameters { return library.name arguments; }
FUNCTIONS(FORWARD)

static char problem[512];

static void load(void) {
    // Stays loaded. Everything is found at once, so that what is missing is said before anything is called.
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    const char *why = handle ? NULL : dlerror();
#define FIND(result, name, parameters, arguments) \
    if (!why && !(library.name = (__typeof__(&name))dlsym(handle, #name))) why = "it lacks " #name;
    FUNCTIONS(FIND)
    if (!why) return;
    size_t length = 0;
    for (; why[length] && length < sizeof problem - 1; length++) problem[length] = why[length];
    problem[length] = 0;
}

const char *clibpq_load(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return *problem ? problem : NULL;
}
