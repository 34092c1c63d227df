// Remembers what was published and not yet confirmed, and who waits for it. Pure.

/// What tells a returned message from others in flight: `basic.return` carries no sequence number.
struct ReturnKey: Hashable {
    var messageID: String?
    var exchange: String
    var routingKey: String

    /// The id tells nearly all apart, and this runs three times for every message.
    func hash(into hasher: inout Hasher) { hasher.combine(messageID) }
}

/// How the broker answered one publish.
enum BrokerAnswer: Equatable {
    case confirmed
    case returned(code: UInt16, text: String)
    case nacked
}

/// The unconfirmed publishes of one channel in confirm mode, whose sequence numbers count up from 1.
struct ConfirmLedger<Waiter> {
    struct Entry {
        let waiter: Waiter
        let key: ReturnKey?
        let bytes: Int
        var returned: (code: UInt16, text: String)?
    }

    /// `nil` once the waiter was told what became of its message, or that its time is over.
    private var entries: [Entry?] = []
    /// Nobody waits for those before this; removed in larger pieces.
    private var head = 0
    /// The sequence number of `entries[head]`.
    private var firstSequence: UInt64 = 1
    private var sequenceOfKey: [ReturnKey: UInt64] = [:]
    /// How many are waited for, and their bytes.
    private(set) var count = 0
    private(set) var bytes = 0
    /// Whether the broker may still have something to say of messages that nobody waits for any more.
    private(set) var hasAbandoned = false

    var isEmpty: Bool { count == 0 }

    /// How many messages it keeps an entry of, whether they are waited for or stand behind one that is.
    var remembered: Int { entries.count - head }

    /// Whether a mandatory message with this key is waited for: a second one must wait, or a return could not be told
    /// to be the one's or the other's.
    func isInFlight(_ key: ReturnKey) -> Bool { sequenceOfKey[key] != nil }

    /// - Parameter key: given for mandatory messages; not ``isInFlight(_:)``.
    mutating func published(_ waiter: Waiter, key: ReturnKey?, bytes: Int) {
        if let key { sequenceOfKey[key] = firstSequence + UInt64(entries.count - head) }
        entries.append(Entry(waiter: waiter, key: key, bytes: bytes))
        count += 1
        self.bytes += bytes
    }

    /// The broker returns a message before it acks it; the ack then resolves it.
    /// - Returns: false when no such message was published.
    mutating func returned(_ key: ReturnKey, code: UInt16, text: String) -> Bool {
        guard let sequence = sequenceOfKey[key], let index = index(of: sequence) else { return hasAbandoned }
        entries[index]?.returned = (code, text)
        return true
    }

    /// - Returns: false when the broker confirms what was never published.
    mutating func confirmed(
        _ sequence: UInt64, multiple: Bool, isNack: Bool, _ resolve: (Waiter, BrokerAnswer) -> Void
    ) -> Bool {
        let next = firstSequence + UInt64(entries.count - head)
        // With `multiple`, zero means everything so far (AMQP 0-9-1, basic.ack).
        let last = multiple && sequence == 0 ? next - 1 : sequence
        guard last < next else { return false }
        if multiple {
            while head < entries.count, firstSequence <= last {
                tell(takeEntry(at: head), isNack: isNack, resolve)
                dropFirst()
            }
        } else {
            guard sequence > 0 else { return false }
            if let index = index(of: sequence) { tell(takeEntry(at: index), isNack: isNack, resolve) }
        }
        dropDone()
        return true
    }

    /// Forgets every message that `isOver` says so of, after its waiter was told. Its confirm may come all the same, and is
    /// then nobody's: kept, those of a queue that confirms nothing would fill the window, and memory.
    mutating func abandon(where isOver: (Waiter) -> Bool, _ tell: (Waiter) -> Void) {
        for index in head..<entries.count {
            guard let waiter = entries[index]?.waiter, isOver(waiter) else { continue }
            _ = takeEntry(at: index)
            hasAbandoned = true
            tell(waiter)
        }
        dropDone()
    }

    /// Forgets everything, telling each waiter in order of publishing. Sequence numbers start again from 1.
    mutating func failAll(_ tell: (Waiter, Entry) -> Void) {
        let all = entries[head...]
        self = ConfirmLedger()
        for case let entry? in all { tell(entry.waiter, entry) }
    }

    private func index(of sequence: UInt64) -> Int? {
        guard sequence >= firstSequence, sequence - firstSequence < UInt64(entries.count - head) else { return nil }
        return head + Int(sequence - firstSequence)
    }

    private mutating func takeEntry(at index: Int) -> Entry? {
        guard let entry = entries[index].take() else { return nil }
        if let key = entry.key { sequenceOfKey[key] = nil }
        count -= 1
        bytes -= entry.bytes
        return entry
    }

    private func tell(_ entry: Entry?, isNack: Bool, _ resolve: (Waiter, BrokerAnswer) -> Void) {
        guard let entry else { return }
        if let returned = entry.returned {
            resolve(entry.waiter, .returned(code: returned.code, text: returned.text))
        } else {
            resolve(entry.waiter, isNack ? .nacked : .confirmed)
        }
    }

    private mutating func dropFirst() {
        head += 1
        firstSequence += 1
    }

    private mutating func dropDone() {
        while head < entries.count, entries[head] == nil { dropFirst() }
        if head == entries.count {
            entries.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1024, head > entries.count / 2 {
            entries.removeFirst(head)
            head = 0
        }
    }
}
