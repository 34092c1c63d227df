// One connection through libpq, always in pipeline mode, every wait bounded.

import CLibPQ
import Glibc
import IdempotencyStore

/// Statements that go out together and come back together.
struct PostgresPipeline {
    enum Step {
        case sql(String)
        case prepare(name: String, sql: String)
        case execute(name: String, [PostgresValue])
    }

    var steps: [Step] = []
}

/// Owns a connection of libpq. Belongs to one thread.
final class PostgresConnection {
    private let handle: OpaquePointer

    /// Connects and logs in. Looking up the host's name has no limit but the resolver's own.
    ///
    /// - Parameter silence: how long a peer may leave bytes unacknowledged.
    init(_ target: PostgresTarget, deadline: ContinuousClock.Instant, silence: Duration) throws(PostgresFailure) {
        // What comes before `dbname` gives way to the URI's own parameters. connect_timeout counts for blocking
        // connects alone and is not used here.
        let parameters =
            target.trust + [
                ("fallback_application_name", "route-worker"), ("client_encoding", "UTF8"),
                ("target_session_attrs", "read-write"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
                ("keepalives_count", "3"), ("tcp_user_timeout", "\(silence.wholeMilliseconds)"), ("dbname", target.uri),
            ]
        let handle = Self.withCStrings(parameters.map(\.0)) { keywords in
            Self.withCStrings(parameters.map(\.1)) { values in PQconnectStartParams(keywords, values, 1) }
        }
        guard let handle else { throw .lost("out of memory") }
        do throws(PostgresFailure) {
            try Self.finishConnecting(handle, deadline)
            guard PQsetnonblocking(handle, 1) == 0, PQenterPipelineMode(handle) == 1 else {
                throw .lost(Self.message(handle))
            }
        } catch {
            PQfinish(handle)
            throw error
        }
        clibpq_silence_notices(handle)
        self.handle = handle
    }

    deinit { PQfinish(handle) }

    /// Runs the steps, one set of rows for each.
    /// - Throws: the first error; the steps after it were not run. After `lost` and `late` it is unknown what was run.
    @discardableResult
    func run(_ pipeline: PostgresPipeline, deadline: ContinuousClock.Instant) throws(PostgresFailure) -> [PostgresRows]
    {
        for step in pipeline.steps {
            guard send(step) else { throw .lost(Self.message(handle)) }
        }
        guard PQpipelineSync(handle) == 1 else { throw .lost(Self.message(handle)) }
        var rows: [PostgresRows] = []
        var failure: PostgresFailure?
        while true {
            try awaitResult(deadline)
            guard let result = PQgetResult(handle) else {
                // Between two steps.
                guard PQstatus(handle) == CONNECTION_OK else { throw .lost(Self.message(handle)) }
                continue
            }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_PIPELINE_SYNC:
                if let failure { throw failure }
                return rows
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
                rows.append(PostgresRows(result))
            case PGRES_PIPELINE_ABORTED:
                break
            default:
                guard PQstatus(handle) == CONNECTION_OK else { throw .lost(Self.message(handle)) }
                failure = failure ?? PostgresFailure(result)
            }
        }
    }

    private func send(_ step: PostgresPipeline.Step) -> Bool {
        switch step {
        case .sql(let sql):
            return PQsendQueryParams(handle, sql, 0, nil, nil, nil, nil, 1) == 1
        case .prepare(let name, let sql):
            return PQsendPrepare(handle, name, sql, 0, nil) == 1
        case .execute(let name, let values):
            let all = values.flatMap(\.bytes)
            return all.withUnsafeBytes { buffer in
                var offset = 0
                let pointers = values.map { value -> UnsafePointer<CChar>? in
                    defer { offset += value.bytes.count }
                    // No value is empty, so no address stands for NULL.
                    return buffer.baseAddress.map { ($0 + offset).assumingMemoryBound(to: CChar.self) }
                }
                let lengths = values.map { Int32($0.bytes.count) }
                let formats = [Int32](repeating: 1, count: values.count)
                return PQsendQueryPrepared(handle, name, Int32(values.count), pointers, lengths, formats, 1) == 1
            }
        }
    }

    /// Sends what is left to send and reads until a result is there.
    private func awaitResult(_ deadline: ContinuousClock.Instant) throws(PostgresFailure) {
        while true {
            let unsent = PQflush(handle)
            guard unsent >= 0 else { throw .lost(Self.message(handle)) }
            if unsent == 0, PQisBusy(handle) == 0 { return }
            let events = try Self.wait(handle, for: unsent == 0 ? POLLIN : POLLIN | POLLOUT, deadline)
            if events & ~POLLOUT != 0, PQconsumeInput(handle) == 0 { throw .lost(Self.message(handle)) }
        }
    }

    // MARK: Connecting

    private static func finishConnecting(
        _ handle: OpaquePointer, _ deadline: ContinuousClock.Instant
    ) throws(PostgresFailure) {
        guard PQstatus(handle) != CONNECTION_BAD else { throw .refusedLogin(message(handle)) }
        var events = POLLOUT
        while true {
            _ = try wait(handle, for: events, deadline)
            switch PQconnectPoll(handle) {
            case PGRES_POLLING_OK: return
            case PGRES_POLLING_READING: events = POLLIN
            case PGRES_POLLING_WRITING: events = POLLOUT
            default: throw .refusedLogin(message(handle))
            }
        }
    }

    private static func wait(
        _ handle: OpaquePointer, for events: Int32, _ deadline: ContinuousClock.Instant
    ) throws(PostgresFailure) -> Int32 {
        let left = (deadline - .now).wholeMilliseconds
        guard left > 0 else { throw .late }
        var descriptor = pollfd(fd: PQsocket(handle), events: Int16(events), revents: 0)
        _ = poll(&descriptor, 1, Int32(clamping: left))
        return Int32(descriptor.revents)
    }

    /// libpq's words on one line; they hold neither user's password nor the URI.
    private static func message(_ handle: OpaquePointer) -> String {
        guard let text = PQerrorMessage(handle) else { return "no message" }
        let lines = String(cString: text).split(whereSeparator: \.isNewline).map {
            $0.drop { $0 == " " || $0 == "\t" }
        }
        return lines.isEmpty ? "the connection was lost" : lines.joined(separator: "; ")
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return body(copies.map { UnsafePointer($0) } + [nil])
    }
}

extension PostgresRows {
    fileprivate init(_ result: OpaquePointer) {
        let columns = PQnfields(result)
        rows = (0..<PQntuples(result)).map { row in
            (0..<columns).map { column in
                guard PQgetisnull(result, row, column) == 0, let start = PQgetvalue(result, row, column) else {
                    return nil
                }
                return Array(
                    UnsafeRawBufferPointer(start: start, count: Int(PQgetlength(result, row, column))))
            }
        }
    }
}

extension PostgresFailure {
    /// PG_DIAG_SQLSTATE and PG_DIAG_MESSAGE_PRIMARY (postgres_ext.h) are macros that Swift does not import.
    fileprivate init(_ result: OpaquePointer) {
        func field(_ code: Unicode.Scalar) -> String? {
            PQresultErrorField(result, Int32(code.value)).map { String(cString: $0) }
        }
        self = .refused(state: field("C") ?? "XX000", message: field("M") ?? "no message")
    }
}
