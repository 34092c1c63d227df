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
        /// `nil` once the waiter has been told something else, such as that its time is over.
        var waiter: Waiter?
        var key: ReturnKey?
        var bytes: Int
        var returned: (code: UInt16, text: String)?
        var isResolved = false
    }

    private var entries: [Entry] = []
    /// Entries before this are resolved; removed in larger pieces.
    private var head = 0
    /// The sequence number of `entries[head]`.
    private var firstSequence: UInt64 = 1
    private var sequenceOfKey: [ReturnKey: UInt64] = [:]
    private(set) var count = 0
    private(set) var bytes = 0

    var isEmpty: Bool { count == 0 }

    /// Whether a mandatory message with this key is in flight: a second one must wait, or a return could not be told
    /// to be the one's or the other's. Not for one that nobody waits for any more: a queue that answers to nothing would
    /// hold up all others.
    func isInFlight(_ key: ReturnKey) -> Bool {
        guard let sequence = sequenceOfKey[key], let index = index(of: sequence) else { return false }
        return entries[index].waiter != nil
    }

    /// - Parameter key: given for mandatory messages. Returns are taken for those of the last one that has it.
    mutating func published(_ waiter: Waiter, key: ReturnKey?, bytes: Int) {
        if let key {
            let sequence = firstSequence + UInt64(entries.count - head)
            if let former = sequenceOfKey.updateValue(sequence, forKey: key), let index = index(of: former) {
                entries[index].key = nil
            }
        }
        entries.append(Entry(waiter: waiter, key: key, bytes: bytes))
        count += 1
        self.bytes += bytes
    }

    /// The broker returns a message before it acks it; the ack then resolves it.
    /// - Returns: false when no such message is in flight.
    mutating func returned(_ key: ReturnKey, code: UInt16, text: String) -> Bool {
        guard let sequence = sequenceOfKey[key], let index = index(of: sequence) else { return false }
        entries[index].returned = (code, text)
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
            while head < entries.count, firstSequence <= last { resolveFirst(isNack: isNack, resolve) }
        } else {
            guard sequence > 0 else { return false }
            if let index = index(of: sequence) { self.resolve(index, isNack: isNack, resolve) }
            while head < entries.count, entries[head].isResolved { dropFirst() }
        }
        compact()
        return true
    }

    /// Takes out every waiter that `isOver` says so of; its message stays in flight.
    mutating func abandon(where isOver: (Waiter) -> Bool, _ tell: (Waiter) -> Void) {
        for index in head..<entries.count {
            guard let waiter = entries[index].waiter, isOver(waiter) else { continue }
            entries[index].waiter = nil
            tell(waiter)
        }
    }

    /// Forgets everything, telling each waiter in order of publishing. Sequence numbers start again from 1.
    mutating func failAll(_ tell: (Waiter, Entry) -> Void) {
        let all = entries[head...]
        self = ConfirmLedger()
        for entry in all where !entry.isResolved {
            if let waiter = entry.waiter { tell(waiter, entry) }
        }
    }

    private func index(of sequence: UInt64) -> Int? {
        guard sequence >= firstSequence, sequence - firstSequence < UInt64(entries.count - head) else { return nil }
        return head + Int(sequence - firstSequence)
    }

    private mutating func resolveFirst(isNack: Bool, _ resolve: (Waiter, BrokerAnswer) -> Void) {
        self.resolve(head, isNack: isNack, resolve)
        dropFirst()
    }

    private mutating func dropFirst() {
        head += 1
        firstSequence += 1
    }

    private mutating func resolve(_ index: Int, isNack: Bool, _ resolve: (Waiter, BrokerAnswer) -> Void) {
        if entries[index].isResolved { return }
        let waiter = entries[index].waiter
        let returned = entries[index].returned
        if let key = entries[index].key { sequenceOfKey[key] = nil }
        count -= 1
        bytes -= entries[index].bytes
        entries[index] = Entry(waiter: nil, key: nil, bytes: 0, returned: nil, isResolved: true)
        guard let waiter else { return }
        if let returned {
            resolve(waiter, .returned(code: returned.code, text: returned.text))
        } else {
            resolve(waiter, isNack ? .nacked : .confirmed)
        }
    }

    private mutating func compact() {
        if head == entries.count {
            entries.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1024, head > entries.count / 2 {
            entries.removeFirst(head)
            head = 0
        }
    }
}
