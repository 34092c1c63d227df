// Turns settlements of single deliveries into as few acks as the order allows. Pure.

/// What is to be sent for one channel.
enum AckAction: Equatable {
    case ack(tag: UInt64, multiple: Bool)
    case reject(tag: UInt64)
}

/// The deliveries of one channel from the oldest unsettled one on. Delivery tags count up from 1 on each channel.
///
/// Takes one byte per delivery between the oldest unsettled one and the newest.
struct AckLedger {
    private enum State: UInt8 {
        case outstanding
        case acked
        case rejected
        /// Settled, and the broker was told.
        case sent
    }

    private var states: [State] = []
    /// Entries of `states` before this are done with; removed in larger pieces.
    private var head = 0
    /// The tag of `states[head]`.
    private var firstTag: UInt64 = 1
    /// Settled since the last flush.
    private var pending: [UInt64] = []
    /// Deliveries that are neither settled nor lost.
    private(set) var outstanding = 0

    /// - Returns: false when the tag is not the next one, which the broker would have to be wrong for.
    mutating func delivered(_ tag: UInt64) -> Bool {
        guard tag == firstTag + UInt64(states.count - head) else { return false }
        states.append(.outstanding)
        outstanding += 1
        return true
    }

    /// Notes a settlement; one of an unknown or already settled tag is dropped.
    mutating func settle(_ tag: UInt64, rejecting: Bool) {
        guard let index = index(of: tag), states[index] == .outstanding else { return }
        states[index] = rejecting ? .rejected : .acked
        pending.append(tag)
        outstanding -= 1
    }

    /// Calls `send` with what the broker is to be told, in this order.
    ///
    /// Where everything up to a tag is settled, one ack stands for all: after the rejects among them, and naming a tag
    /// that is itself still to be acked (an ack that names a settled one closes the channel with 406).
    mutating func flush(_ send: (AckAction) -> Void) {
        if pending.isEmpty { return }
        defer { pending.removeAll(keepingCapacity: true) }

        var end = head
        var lastAcked: Int?
        var ackedCount = 0
        while end < states.count, states[end] != .outstanding {
            switch states[end] {
            case .rejected: send(.reject(tag: tag(at: end)))
            case .acked:
                lastAcked = end
                ackedCount += 1
            case .outstanding, .sent: break
            }
            end += 1
        }
        if let lastAcked { send(.ack(tag: tag(at: lastAcked), multiple: ackedCount > 1)) }
        advance(to: end)

        for tag in pending {
            guard let index = index(of: tag) else { continue }
            switch states[index] {
            case .acked: send(.ack(tag: tag, multiple: false))
            case .rejected: send(.reject(tag: tag))
            case .outstanding, .sent: continue
            }
            states[index] = .sent
        }
    }

    private func tag(at index: Int) -> UInt64 { firstTag + UInt64(index - head) }

    private func index(of tag: UInt64) -> Int? {
        guard tag >= firstTag, tag - firstTag < UInt64(states.count - head) else { return nil }
        return head + Int(tag - firstTag)
    }

    private mutating func advance(to end: Int) {
        firstTag += UInt64(end - head)
        head = end
        if head == states.count {
            states.removeAll(keepingCapacity: states.count < 65_536)
            head = 0
        } else if head > 4096, head > states.count / 2 {
            states.removeFirst(head)
            head = 0
        }
    }
}
