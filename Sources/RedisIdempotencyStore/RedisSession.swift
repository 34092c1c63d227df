// Runs batches over one connection, which it makes anew when it is lost. Belongs to one thread.

import IdempotencyStore
import RoutingContract

final class RedisSession {
    private let target: RedisTarget
    private let namespace: [UInt8]
    private let retention: Retention
    private let clock: StoreClock?
    private let timeLimit: Duration

    private var connection: RedisConnection?
    private var scripts: (write: [UInt8], purge: [UInt8]) = ([], [])
    private var delay = ReconnectDelay()

    init(
        target: RedisTarget, namespace: String, retention: Retention, clock: StoreClock?, timeLimit: Duration
    ) {
        self.target = target
        self.namespace = Array("\(namespace):".utf8)
        self.retention = retention
        self.clock = clock
        self.timeLimit = timeLimit
    }

    func run(_ batch: [StoreOperation]) throws(StoreError) -> [StoreReply] {
        let deadline = ContinuousClock.now + timeLimit
        let reads = BatchReads(batch)
        while true {
            let isReused = connection != nil
            do throws(RedisFailure) {
                let connection = try connected(deadline)
                let found: Found
                do throws(RedisFailure) {
                    found = try read(reads, connection, deadline)
                } catch {
                    // A connection can have been lost long ago. Nothing was written yet, so it is safe to begin again.
                    guard case .lost = error, isReused else { throw error }
                    self.connection = nil
                    continue
                }
                if let replies = try decide(batch, on: found, connection, deadline) { return replies }
                guard ContinuousClock.now < deadline else { throw .late }
            } catch {
                // The script that is missing has written nothing.
                if error.isMissingScript, isReused {
                    connection = nil
                    continue
                }
                if error.isOfThisConnection { connection = nil }
                throw error.storeError(target, timeLimit)
            }
        }
    }

    func close() {
        connection = nil
    }

    // MARK: Connecting

    private func connected(_ deadline: ContinuousClock.Instant) throws(RedisFailure) -> RedisConnection {
        if let connection { return connection }
        delay.wait(atMostUntil: deadline)
        guard ContinuousClock.now < deadline else { throw .late }
        do throws(RedisFailure) {
            let connection = try RedisConnection(target, deadline: deadline, silence: timeLimit)
            try logIn(connection, deadline)
            delay.succeeded()
            self.connection = connection
            return connection
        } catch {
            delay.failed(at: .now)
            throw error
        }
    }

    private func logIn(_ connection: RedisConnection, _ deadline: ContinuousClock.Instant) throws(RedisFailure) {
        var pipeline = RedisPipeline()
        if let password = target.password {
            let user = target.user.map { [Array($0.utf8)] } ?? []
            pipeline.append("AUTH", user + [Array(password.utf8)])
        }
        if target.database != 0 { pipeline.append("SELECT", "\(target.database)") }
        pipeline.append("SCRIPT", "LOAD", RedisScripts.write)
        pipeline.append("SCRIPT", "LOAD", RedisScripts.purge)
        let replies = try connection.run(pipeline, deadline: deadline)
        for case .error(let message) in replies { throw .refused(message) }
        guard case .bytes(let write) = replies[replies.count - 2], case .bytes(let purge) = replies[replies.count - 1]
        else { throw .refused("an answer to SCRIPT LOAD that is no name of a script") }
        scripts = (write, purge)
    }

    // MARK: One batch

    private struct Found {
        var values: [KeyBytes: [UInt8]]
        var marks: [KeyBytes: [UInt8]]
        var firstToken: Int64
        var now: Timestamp
    }

    /// Tokens are taken after the commands were read: whoever wrote a newer one in between makes the write fail.
    private func read(
        _ reads: BatchReads, _ connection: RedisConnection, _ deadline: ContinuousClock.Instant
    ) throws(RedisFailure) -> Found {
        var pipeline = RedisPipeline()
        let keys = reads.commands.map(commandKey) + reads.marks.map(markKey)
        if !keys.isEmpty { pipeline.append("MGET", keys) }
        if reads.claims > 0 { pipeline.append("INCRBY", [name("token"), Array(String(reads.claims).utf8)]) }
        if clock == nil { pipeline.append("TIME") }
        guard pipeline.count > 0 else {
            return Found(values: [:], marks: [:], firstToken: 0, now: clock?.now() ?? Timestamp(milliseconds: 0))
        }
        let answers = try connection.run(pipeline, deadline: deadline)
        for case .error(let message) in answers { throw .refused(message) }

        var replies = answers[...]
        var found = Found(values: [:], marks: [:], firstToken: 0, now: Timestamp(milliseconds: 0))
        if !keys.isEmpty {
            guard case .array(let values)? = replies.popFirst(), values.count == keys.count else { throw .strange }
            for (key, value) in zip(reads.commands, values) {
                if case .bytes(let bytes) = value { found.values[key] = bytes }
            }
            for (key, value) in zip(reads.marks, values.dropFirst(reads.commands.count)) {
                if case .bytes(let bytes) = value { found.marks[key] = bytes }
            }
        }
        if reads.claims > 0 {
            guard case .integer(let last)? = replies.popFirst(), last >= reads.claims else { throw .strange }
            found.firstToken = last - Int64(reads.claims) + 1
        }
        if let clock { found.now = clock.now() } else { found.now = try Self.time(replies.popFirst()) }
        return found
    }

    /// - Returns: `nil` when somebody else was quicker to write.
    private func decide(
        _ batch: [StoreOperation], on found: Found, _ connection: RedisConnection, _ deadline: ContinuousClock.Instant
    ) throws(RedisFailure) -> [StoreReply]? {
        var decisions = BatchDecisions(
            commands: found.values.mapValues(RedisValues.command), marks: found.marks.mapValues(RedisValues.mark),
            firstToken: found.firstToken, at: found.now, keeping: retention)
        let replies = batch.map { decisions.perform($0) }

        var pipeline = RedisPipeline()
        var keys: [[UInt8]] = []
        var values: [[UInt8]] = []
        for (key, command) in decisions.commands where command.isChanged {
            keys.append(commandKey(key))
            values.append(found.values[key] ?? [])
            values.append(command.record.map(RedisValues.encode) ?? [])
            values.append(command.record == nil ? [] : Self.number(command.firstLook))
        }
        for (key, mark) in decisions.marks where mark.isChanged {
            keys.append(markKey(key))
            values.append(found.marks[key] ?? [])
            values.append(mark.mark.map(RedisValues.encode) ?? [])
            values.append(Self.number(mark.mark?.keepUntil))
        }
        let writes = !keys.isEmpty
        if writes {
            pipeline.append(
                "EVALSHA", [scripts.write, Array(String(keys.count + 1).utf8), name("index")] + keys + values)
        }
        for case .purge(let limit) in batch where limit > 0 {
            pipeline.append(
                "EVALSHA",
                [scripts.purge, Array("1".utf8), name("index"), Self.number(found.now), Array(String(limit).utf8)])
        }
        let answers = pipeline.count > 0 ? try connection.run(pipeline, deadline: deadline) : []
        for case .error(let message) in answers { throw .refused(message) }
        var rest = answers[...]
        if writes {
            guard case .integer(let done)? = rest.popFirst() else { throw .strange }
            if done == 0 { return nil }
        }
        var all: [StoreReply] = []
        for (operation, reply) in zip(batch, replies) {
            if let reply {
                all.append(reply)
            } else if case .search(let search) = operation {
                all.append(.searched(try self.search(search, connection, deadline)))
            } else if case .purge(let limit) = operation, limit > 0 {
                guard case .array(let counts)? = rest.popFirst(), counts.count == 2,
                    case .integer(let removed) = counts[0], case .integer(let seen) = counts[1]
                else { throw .strange }
                all.append(.purged(Int(removed), more: seen == limit))
            } else {
                all.append(.purged(0, more: false))
            }
        }
        return all
    }

    /// Walks through the names of the keys, which Redis keeps in no order: a step is bounded by what it looks at, be it of
    /// which org it may.
    private func search(
        _ search: ConversationSearch, _ connection: RedisConnection, _ deadline: ContinuousClock.Instant
    ) throws(RedisFailure) -> SearchStep {
        let prefix = name("c:")
        let cursor = search.after.isEmpty ? Array("0".utf8) : search.after
        var scan = RedisPipeline()
        scan.append(
            "SCAN",
            [
                cursor, Array("MATCH".utf8), RedisValues.literal(prefix) + Array("\(search.org)*".utf8),
                Array("COUNT".utf8), Array(String(search.limit).utf8),
            ])
        let scanned = try connection.run(scan, deadline: deadline)
        if case .error(let message) = scanned[0] { throw .refused(message) }
        guard case .array(let parts) = scanned[0], parts.count == 2, case .bytes(let next) = parts[0],
            case .array(let names) = parts[1]
        else { throw .strange }
        var step = SearchStep(seen: names.count, next: next == Array("0".utf8) ? nil : next)
        let keys = names.compactMap { name -> [UInt8]? in
            guard case .bytes(let bytes) = name else { return nil }
            return bytes
        }
        guard !keys.isEmpty else { return step }
        var get = RedisPipeline()
        get.append("MGET", keys)
        let got = try connection.run(get, deadline: deadline)
        if case .error(let message) = got[0] { throw .refused(message) }
        guard case .array(let values) = got[0], values.count == keys.count else { throw .strange }
        for (key, value) in zip(keys, values) {
            guard case .bytes(let bytes) = value, RedisValues.history(bytes).isOf(search.tag),
                let command = KeyBytes(bytes: Array(key.dropFirst(prefix.count))).command
            else { continue }
            step.commands.append(command)
        }
        return step
    }

    private func name(_ suffix: String) -> [UInt8] { namespace + Array(suffix.utf8) }
    private func commandKey(_ key: KeyBytes) -> [UInt8] { namespace + Array("c:".utf8) + key.bytes }
    private func markKey(_ key: KeyBytes) -> [UInt8] { namespace + Array("m:".utf8) + key.bytes }

    private static func number(_ time: Timestamp?) -> [UInt8] {
        time.map { Array(String($0.milliseconds).utf8) } ?? []
    }

    /// The answer to TIME: seconds and microseconds, as text.
    private static func time(_ reply: RedisReply?) throws(RedisFailure) -> Timestamp {
        guard case .array(let parts)? = reply, parts.count == 2, case .bytes(let first) = parts[0],
            case .bytes(let second) = parts[1], let seconds = Int64(String(decoding: first, as: UTF8.self)),
            let microseconds = Int64(String(decoding: second, as: UTF8.self))
        else { throw .strange }
        return Timestamp(milliseconds: seconds * 1000 + microseconds / 1000)
    }
}

extension RedisFailure {
    fileprivate static var strange: RedisFailure { .lost("it answers otherwise than Redis does") }
}
