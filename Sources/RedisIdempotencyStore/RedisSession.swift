// Runs batches over one connection, which it makes anew when it is lost.

import IdempotencyStore
import LoopSupport
import NIOCore
import RoutingContract

/// Runs on its connection's event loop, so that between a batch and its replies no thread is changed.
actor RedisSession {
    private nonisolated let executor: LoopExecutor
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private let loop: any EventLoop
    private let target: RedisTarget
    private let commandPrefix: [UInt8]
    private let markPrefix: [UInt8]
    private let indexName: [UInt8]
    private let tokenName: [UInt8]
    private let retention: Retention
    private let clock: StoreClock?
    private let timeLimit: Duration

    private var connection: RedisConnection?
    private var isClosed = false
    private var scripts: (write: [UInt8], purge: [UInt8]) = ([], [])
    private var delay = ReconnectDelay()

    init(
        target: RedisTarget, namespace: String, retention: Retention, clock: StoreClock?,
        timeLimit: Duration, loop: any EventLoop
    ) {
        self.loop = loop
        executor = LoopExecutor.of(loop)
        self.target = target
        commandPrefix = Array("\(namespace):c:".utf8)
        markPrefix = Array("\(namespace):m:".utf8)
        indexName = Array("\(namespace):index".utf8)
        tokenName = Array("\(namespace):token".utf8)
        self.retention = retention
        self.clock = clock
        self.timeLimit = timeLimit
    }

    func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        guard !isClosed else { throw .closed }
        let deadline = ContinuousClock.now + timeLimit
        let reads = BatchReads(batch)
        while true {
            let isReused = connection != nil
            do throws(RedisFailure) {
                let connection = try await connected(deadline)
                let found: Found
                do throws(RedisFailure) {
                    found = try await read(reads, connection, deadline)
                } catch {
                    // A connection can have been lost long ago. Nothing was written yet, so it is safe to begin again.
                    guard case .lost = error, isReused else { throw error }
                    forget(connection)
                    continue
                }
                if let replies = try await decide(batch, reads, on: found, connection, deadline) { return replies }
                guard ContinuousClock.now < deadline else { throw .late }
            } catch {
                // The script that is missing has written nothing.
                if error.isMissingScript, isReused {
                    forget(connection)
                    continue
                }
                if error.isOfThisConnection { forget(connection) }
                throw error.storeError(target, timeLimit)
            }
        }
    }

    func close() {
        isClosed = true
        forget(connection)
    }

    private func forget(_ connection: RedisConnection?) {
        connection?.close()
        self.connection = nil
    }

    // MARK: Connecting

    private func connected(_ deadline: ContinuousClock.Instant) async throws(RedisFailure) -> RedisConnection {
        if let connection { return connection }
        try? await Task.sleep(until: min(delay.notBefore, deadline), clock: .continuous)
        guard ContinuousClock.now < deadline else { throw .late }
        var opened: RedisConnection?
        do throws(RedisFailure) {
            let connection = try await RedisConnection.open(
                target, on: loop, deadline: deadline, silence: timeLimit)
            opened = connection
            try await logIn(connection, deadline)
            delay.succeeded()
            self.connection = connection
            return connection
        } catch {
            opened?.close()
            delay.failed(at: .now)
            throw error
        }
    }

    private func logIn(_ connection: RedisConnection, _ deadline: ContinuousClock.Instant) async throws(RedisFailure) {
        var pipeline = RedisPipeline()
        switch (target.user, target.password) {
        case (let user?, let password?): pipeline.append("AUTH", user, password)
        case (nil, let password?): pipeline.append("AUTH", password)
        case (_, nil): break
        }
        if target.database != 0 { pipeline.append("SELECT", "\(target.database)") }
        pipeline.append("SCRIPT", "LOAD", RedisScripts.write)
        pipeline.append("SCRIPT", "LOAD", RedisScripts.purge)
        let replies = try await connection.run(pipeline, deadline: deadline)
        for case .error(let message) in replies { throw .refused(message) }
        guard case .bytes(let write) = replies[replies.count - 2], case .bytes(let purge) = replies[replies.count - 1]
        else { throw .refused("an answer to SCRIPT LOAD that is no name of a script") }
        scripts = (write, purge)
    }

    // MARK: One batch

    /// Index for index with what was to be read.
    private struct Found {
        var commands: [[UInt8]?] = []
        var marks: [[UInt8]?] = []
        var firstToken: Int64 = 0
        var now = Timestamp(milliseconds: 0)
    }

    /// Tokens are taken after the commands were read: whoever wrote a newer one in between makes the write fail.
    private func read(
        _ reads: BatchReads, _ connection: RedisConnection, _ deadline: ContinuousClock.Instant
    ) async throws(RedisFailure) -> Found {
        var pipeline = RedisPipeline()
        let keys = reads.commands.count + reads.marks.count
        if keys > 0 {
            pipeline.command("MGET", arguments: keys)
            for key in reads.commands { pipeline.argument(commandPrefix, key.bytes) }
            for key in reads.marks { pipeline.argument(markPrefix, key.bytes) }
        }
        if reads.claims > 0 {
            pipeline.command("INCRBY", arguments: 2)
            pipeline.argument(tokenName)
            pipeline.argument(reads.claims)
        }
        if clock == nil { pipeline.append("TIME") }
        var found = Found()
        guard pipeline.count > 0 else {
            if let clock { found.now = clock.now() }
            return found
        }
        let answers = try await connection.run(pipeline, deadline: deadline)
        for case .error(let message) in answers { throw .refused(message) }

        var replies = answers[...]
        if keys > 0 {
            guard case .array(let values)? = replies.popFirst(), values.count == keys else { throw .strange }
            found.commands = values.prefix(reads.commands.count).map(\.value)
            found.marks = values.dropFirst(reads.commands.count).map(\.value)
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
        _ batch: [StoreOperation], _ reads: BatchReads, on found: Found, _ connection: RedisConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws(RedisFailure) -> [StoreReply]? {
        var decisions = BatchDecisions(
            reads, commands: found.commands.map(RedisValues.command), marks: found.marks.map(RedisValues.mark),
            firstToken: found.firstToken, at: found.now, keeping: retention)
        var replies = decisions.perform(batch)

        var pipeline = RedisPipeline()
        let commands = decisions.commands.indices.filter { decisions.commands[$0].isChanged }
        let marks = decisions.marks.indices.filter { decisions.marks[$0].isChanged }
        let writes = commands.count + marks.count
        if writes > 0 {
            pipeline.command("EVALSHA", arguments: 3 + 4 * writes)
            pipeline.argument(scripts.write)
            pipeline.argument(writes + 1)
            pipeline.argument(indexName)
            for index in commands { pipeline.argument(commandPrefix, reads.commands[index].bytes) }
            for index in marks { pipeline.argument(markPrefix, reads.marks[index].bytes) }
            for index in commands { pipeline.arguments(decisions.commands[index], found: found.commands[index]) }
            for index in marks { pipeline.arguments(decisions.marks[index], found: found.marks[index]) }
        }
        for index in reads.undecided {
            guard case .purge(let limit) = batch[index], limit > 0 else { continue }
            pipeline.command("EVALSHA", arguments: 5)
            pipeline.argument(scripts.purge)
            pipeline.argument(1)
            pipeline.argument(indexName)
            pipeline.argument(found.now)
            pipeline.argument(limit)
        }
        let answers = pipeline.count > 0 ? try await connection.run(pipeline, deadline: deadline) : []
        for case .error(let message) in answers { throw .refused(message) }
        var rest = answers[...]
        if writes > 0 {
            guard case .integer(let done)? = rest.popFirst() else { throw .strange }
            if done == 0 { return nil }
        }
        for index in reads.undecided {
            if case .search(let search) = batch[index] {
                replies[index] = .searched(try await self.search(search, connection, deadline))
            } else if case .purge(let limit) = batch[index], limit > 0 {
                guard case .array(let counts)? = rest.popFirst(), counts.count == 2,
                    case .integer(let removed) = counts[0], case .integer(let seen) = counts[1]
                else { throw .strange }
                replies[index] = .purged(Int(removed), more: seen == limit)
            }
        }
        return replies
    }

    /// Walks through the names of the keys, which Redis keeps in no order: a step is bounded by what it looks at, be it of
    /// which org it may.
    private func search(
        _ search: ConversationSearch, _ connection: RedisConnection, _ deadline: ContinuousClock.Instant
    ) async throws(RedisFailure) -> SearchStep {
        let start = [UInt8(ascii: "0")]
        var scan = RedisPipeline()
        scan.command("SCAN", arguments: 5)
        scan.argument(search.after.isEmpty ? start : search.after)
        scan.argument(Array("MATCH".utf8))
        scan.argument(RedisValues.literal(commandPrefix), Array("\(search.org)*".utf8))
        scan.argument(Array("COUNT".utf8))
        scan.argument(search.limit)
        let scanned = try await connection.run(scan, deadline: deadline)
        if case .error(let message) = scanned[0] { throw .refused(message) }
        guard case .array(let parts) = scanned[0], parts.count == 2, case .bytes(let next) = parts[0],
            case .array(let names) = parts[1]
        else { throw .strange }
        var step = SearchStep(seen: names.count, next: next == start ? nil : next)
        let keys = names.compactMap { name -> [UInt8]? in
            guard case .bytes(let bytes) = name else { return nil }
            return bytes
        }
        guard !keys.isEmpty else { return step }
        var get = RedisPipeline()
        get.command("MGET", arguments: keys.count)
        for key in keys { get.argument(key) }
        let got = try await connection.run(get, deadline: deadline)
        if case .error(let message) = got[0] { throw .refused(message) }
        guard case .array(let values) = got[0], values.count == keys.count else { throw .strange }
        for (key, value) in zip(keys, values) {
            guard case .bytes(let bytes) = value, RedisValues.history(of: bytes).isOf(search.tag),
                let command = KeyBytes(bytes: Array(key.dropFirst(commandPrefix.count))).command
            else { continue }
            step.commands.append(command)
        }
        return step
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

extension RedisPipeline {
    /// What the script that writes takes for each key.
    fileprivate mutating func arguments(_ command: BatchDecisions.Command, found: [UInt8]?) {
        argument(found ?? [])
        argument { value in
            if let record = command.record { RedisValues.encode(record, to: &value) }
        }
        argument(command.firstLook)
    }

    fileprivate mutating func arguments(_ mark: BatchDecisions.Mark, found: [UInt8]?) {
        argument(found ?? [])
        argument { value in
            if let mark = mark.mark { RedisValues.encode(mark, to: &value) }
        }
        argument(mark.mark?.keepUntil)
    }

    fileprivate mutating func argument(_ time: Timestamp?) {
        argument { value in
            if let time { value.append(decimal: time.milliseconds) }
        }
    }
}

extension RedisFailure {
    fileprivate static var strange: RedisFailure { .lost("it answers otherwise than Redis does") }
}
