// A store in memory: for trials, tests and benchmarks. What it knows ends with the process.

public import RoutingContract
import Synchronization

/// Keeps commands and marks in memory, up to a bound. Survives nothing: after a restart every duplicate is a first.
public final class InMemoryStoreBackend: StoreBackend {
    private struct Command {
        var record: CommandRecord
        /// When a purge looks at it; entries of the queue for another time are left from before it was forgotten.
        var lookAt: Timestamp
    }

    private struct Mark {
        var issuedAt: Timestamp
        var keepUntil: Timestamp
    }

    private enum Entry: Hashable {
        case command(CommandKey)
        case mark(ConversationKey)
    }

    private struct Memory {
        var commands: [CommandKey: Command] = [:]
        var marks: [ConversationKey: Mark] = [:]
        /// When a purge looks at which entry. Forgotten entries stay in it until their time.
        var looks = ExpiryQueue<Entry>()
        var lastToken: Int64 = 0
        var isClosed = false
    }

    private let maximumEntries: Int
    private let retention: Retention
    private let clock: StoreClock
    private let memory = Mutex(Memory())

    /// - Parameter maximumEntries: commands and marks kept; a first claim beyond it fails with ``StoreError/full(_:)``
    ///   unless an entry's retention is over.
    public init(maximumEntries: Int = 1_000_000, retention: Retention = Retention(), clock: StoreClock = .system) {
        self.maximumEntries = maximumEntries
        self.retention = retention
        self.clock = clock
    }

    public func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        let now = clock.now()
        let replies = memory.withLock { memory -> [StoreReply]? in
            memory.isClosed ? nil : batch.map { perform($0, in: &memory, at: now) }
        }
        guard let replies else { throw .closed }
        return replies
    }

    public func close() async {
        memory.withLock { $0 = Memory(isClosed: true) }
    }

    private func perform(_ operation: StoreOperation, in memory: inout Memory, at now: Timestamp) -> StoreReply {
        switch operation {
        case .claim(let request):
            return claim(request, in: &memory, at: now)
        case .record(let result, let claim):
            var record = memory.commands[claim.key]?.record
            let decision = CommandRecord.record(
                result, under: claim, finding: &record, at: now, keeping: retention)
            switch decision {
            case .write: write(record, claim.key, in: &memory)
            case .alreadyRecorded: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .release(let claim, let release):
            var record = memory.commands[claim.key]?.record
            let decision = CommandRecord.release(
                claim, as: release, finding: &record, at: now, keeping: retention)
            switch decision {
            case .write: write(record, claim.key, in: &memory)
            case .forget: forget(claim.key, in: &memory)
            case .alreadyReleased: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .mark(let request):
            guard let mark = CommandRecord.mark(request, finding: memory.commands[request.key]?.record) else {
                return .marked
            }
            guard hasRoom(for: 1, in: &memory, at: now) else { return .failed(isFull) }
            leave(mark, for: request.conversationKey, in: &memory, at: now)
            return .marked
        case .find(let key):
            return .found(memory.commands[key]?.record)
        case .search(let search):
            // In one step: nobody who uses this store keeps so many that it would hold others up for long.
            let org = memory.commands.filter { $0.key.org == search.org }
            let found = org.filter { $0.value.record.history.isOf(search.tag) }
            return .searched(SearchStep(commands: Array(found.keys), seen: org.count))
        case .forget(let key, let tag):
            var record = memory.commands[key]?.record
            let result = CommandRecord.forget(tag, finding: &record, at: now)
            if result == .forgotten { write(record, key, in: &memory) }
            return .forgot(result)
        case .forgetMark(let conversation):
            return .forgot(memory.marks.removeValue(forKey: conversation) == nil ? .nothing : .forgotten)
        case .purge(let limit):
            return purge(limit: limit, in: &memory, at: now)
        }
    }

    private func claim(_ request: ClaimRequest, in memory: inout Memory, at now: Timestamp) -> StoreReply {
        var record = memory.commands[request.key]?.record
        let decision = CommandRecord.claim(
            request, finding: &record,
            latestDelete: request.canBeSuperseded ? memory.marks[request.conversationKey]?.issuedAt : nil,
            token: memory.lastToken + 1, at: now, keeping: retention)
        guard decision.isWrite, let record else { return .claim(decision.result) }
        if decision.isFirst {
            guard hasRoom(for: decision.mark == nil ? 1 : 2, in: &memory, at: now) else { return .failed(isFull) }
            let lookAt = CommandRecord.firstLook(request, at: now, keeping: retention)
            memory.commands[request.key] = Command(record: record, lookAt: lookAt)
            memory.looks.insert(.command(request.key), at: lookAt)
        } else {
            write(record, request.key, in: &memory)
        }
        memory.lastToken = max(memory.lastToken, record.token)
        if let mark = decision.mark { leave(mark, for: request.conversationKey, in: &memory, at: now) }
        return .claim(decision.result)
    }

    private func write(_ record: CommandRecord?, _ key: CommandKey, in memory: inout Memory) {
        if let record { memory.commands[key]?.record = record }
    }

    private func leave(
        _ issuedAt: Timestamp, for conversation: ConversationKey, in memory: inout Memory, at now: Timestamp
    ) {
        let keepUntil = CommandRecord.keepMark(issuedAt, at: now, keeping: retention)
        if let mark = memory.marks[conversation] {
            memory.marks[conversation] = Mark(
                issuedAt: max(mark.issuedAt, issuedAt), keepUntil: max(mark.keepUntil, keepUntil))
        } else {
            memory.marks[conversation] = Mark(issuedAt: issuedAt, keepUntil: keepUntil)
            memory.looks.insert(.mark(conversation), at: keepUntil)
        }
    }

    private func forget(_ key: CommandKey, in memory: inout Memory) {
        memory.commands[key] = nil
        // What is left of forgotten commands must not grow beyond what is kept.
        guard memory.looks.count > 2 * (memory.commands.count + memory.marks.count) + 1024 else { return }
        memory.looks = ExpiryQueue()
        for (key, command) in memory.commands { memory.looks.insert(.command(key), at: command.lookAt) }
        for (conversation, mark) in memory.marks { memory.looks.insert(.mark(conversation), at: mark.keepUntil) }
    }

    private var isFull: StoreError { .full("\(maximumEntries) commands and marks are kept in memory") }

    private func hasRoom(for count: Int, in memory: inout Memory, at now: Timestamp) -> Bool {
        while memory.commands.count + memory.marks.count + count > maximumEntries {
            guard case .purged(let removed, let more) = purge(limit: 16, in: &memory, at: now), removed > 0 || more
            else { return false }
        }
        return true
    }

    private func purge(limit: Int, in memory: inout Memory, at now: Timestamp) -> StoreReply {
        var removed = 0
        for _ in 0..<max(0, limit) {
            guard let look = memory.looks.removeFirst(dueAt: now) else { return .purged(removed, more: false) }
            switch look.entry {
            case .command(let key):
                guard let command = memory.commands[key], command.lookAt == look.due else { continue }
                let keepUntil = command.record.keepUntil
                if keepUntil > now {
                    memory.commands[key]?.lookAt = keepUntil
                    memory.looks.insert(look.entry, at: keepUntil)
                    continue
                }
                memory.commands[key] = nil
            case .mark(let conversation):
                guard let mark = memory.marks[conversation] else { continue }
                if mark.keepUntil > now {
                    memory.looks.insert(look.entry, at: mark.keepUntil)
                    continue
                }
                memory.marks[conversation] = nil
            }
            removed += 1
        }
        return .purged(removed, more: true)
    }
}

extension ClaimRequest {
    /// The conversation that the command belongs to.
    public var conversationKey: ConversationKey { ConversationKey(org: key.org, conversation: conversation) }
}
