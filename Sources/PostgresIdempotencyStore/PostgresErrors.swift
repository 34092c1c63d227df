// What can go wrong with PostgreSQL, and what it means for a caller.

import IdempotencyStore

/// Why a pipeline has no results. After `lost`, `late` and `refusedLogin` there is no connection any more.
enum PostgresFailure: Error {
    case lost(String)
    case late
    case refusedLogin(String)
    /// The server's error, with its SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html). The transaction is
    /// rolled back.
    case refused(state: String, message: String)
    /// The tables have a later version, which this one cannot read.
    case newerTables(Int64)

    /// Somebody else wrote what this transaction was about to write, or waited the other way round: do it again.
    var isOvertaken: Bool {
        guard case .refused(let state, _) = self else { return false }
        return ["23505", "40001", "40P01"].contains(state)
    }

    /// Whether another connection may do better.
    var isOfThisConnection: Bool {
        switch self {
        case .lost, .late, .refusedLogin, .newerTables: return true
        // A standby, statements that are gone, a server that goes.
        case .refused(let state, _): return ["25006", "26000", "0A000"].contains(state) || state.hasPrefix("57P")
        }
    }

    func storeError(_ target: PostgresTarget, _ timeLimit: Duration) -> StoreError {
        switch self {
        case .lost(let why): return .unavailable("\(target): \(why)")
        case .late: return .unavailable("\(target) did not answer within \(timeLimit.wholeMilliseconds) ms")
        case .refusedLogin(let message): return Self.login(message, target)
        case .newerTables(let version):
            return .unusable(
                "\(target): its tables have version \(version), this worker knows \(PostgresSchema.version): run the "
                    + "newer worker, or name another database")
        case .refused(let state, let message):
            let text = "\(target) says \"\(message)\" (\(state))"
            switch (state.prefix(2), state) {
            case (_, "53100"): return .full("\(text): free space on its disk")
            case (_, "42501"):
                return .unusable(
                    "\(text): the user needs SELECT, INSERT, UPDATE and DELETE on the tables route_worker_… and USAGE on "
                        + "their sequence, and for the first start CREATE on the schema")
            // A failover makes it, or the one behind the name, the primary.
            case (_, "25006"): return .unavailable("\(text): name the primary in the store's URL, not a standby")
            case (_, "3F000"):
                return .unusable(
                    "\(text): none of the search path's schemas can be used; let the user use that schema, and create "
                        + "tables in it for the first start")
            case ("42", _), ("22", _), ("23", _), ("26", _):
                return .unusable("\(text): the tables are not as this version made them; were they changed by hand?")
            case ("28", _), ("3D", _): return Self.login(message, target)
            // Out of memory or connections, cancelled by a timeout, shutting down, I/O: later is worth a try.
            default: return .unavailable(text)
            }
        }
    }

    /// libpq gives no code for a login that failed, only its words.
    private static func login(_ message: String, _ target: PostgresTarget) -> StoreError {
        let text = "\(target): \(message)"
        func says(_ words: String) -> Bool { message.contains(words) }
        if says("password authentication failed") || says("no password supplied") || says("role \"") {
            return .unusable("\(text): set user and password in the store's URL")
        }
        if says("database \"") && says("does not exist") {
            return .unusable("\(text): create it (createdb), or name another one in the store's URL")
        }
        if says("no pg_hba.conf entry") {
            return .unusable("\(text): let the server's pg_hba.conf admit the worker")
        }
        if says("read-only") || says("hot standby") {
            return .unavailable("\(text): name the primary in the store's URL, not a standby")
        }
        if says("permission denied") { return .unusable("\(text): grant CONNECT on the database to the worker's user") }
        if says("certificate") || says("does not support SSL") || says("root.crt") {
            return .unusable("\(text): see store.caFile, or sslmode and sslrootcert in the store's URL")
        }
        return .unavailable(text)
    }
}
