// The publisher's queue: bounded, first in, first out, and rid of what has waited too long.

/// Messages that are not on their way yet.
struct Backlog {
    private var items: [Outgoing?] = []
    /// Items before this are taken; removed in larger pieces.
    private var head = 0
    private(set) var bytes = 0

    var count: Int { items.count - head }
    var isEmpty: Bool { head == items.count }

    /// - Returns: false when one of the bounds would be passed.
    mutating func append(_ outgoing: Outgoing, limits: PublisherLimits) -> Bool {
        let size = outgoing.message.message.body.count
        guard count < limits.queuedMessages, bytes + size <= limits.queuedBytes else { return false }
        bytes += size
        items.append(outgoing)
        return true
    }

    var first: Outgoing? { isEmpty ? nil : items[head] }

    mutating func removeFirst() {
        // Through the element: a copy of all its parts would cost more than the rest.
        guard let size = items[head]?.message.message.body.count else { return }
        bytes -= size
        items[head] = nil
        head += 1
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1024, head > items.count / 2 {
            items.removeFirst(head)
            head = 0
        }
    }

    /// Removes what was to be answered by now.
    mutating func expire(at now: ContinuousClock.Instant, _ tell: (Waiter) -> Void) {
        // By index: a loop over the elements would copy every message.
        let hasOverdue = (head..<items.count).contains { index in
            guard let deadline = items[index]?.deadline else { return false }
            return deadline <= now
        }
        guard hasOverdue else { return }
        let all = items[head...]
        items = []
        head = 0
        bytes = 0
        for case let outgoing? in all {
            if outgoing.deadline <= now {
                tell(outgoing.waiter)
            } else {
                bytes += outgoing.message.message.body.count
                items.append(outgoing)
            }
        }
    }

    mutating func removeAll(_ tell: (Waiter) -> Void) {
        for case let outgoing? in items[head...] { tell(outgoing.waiter) }
        self = Backlog()
    }
}
