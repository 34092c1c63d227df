// Which delivery may start now: one at a time per conversation, within the worker's concurrency. Pure.

/// Deliveries wait in lanes, one lane per conversation, and start in the order delivered.
///
/// A start takes one of the worker's slots. Every source (a commands queue) may have slots reserved, which no other
/// source can take; the rest is for whoever comes first. A lane whose command waits (backoff, somebody else's lease)
/// gives its slot back and stays closed to its later commands; woken, it stands in line for a slot ahead of new starts.
///
/// `Item`s without a key (messages that are no valid command) stand in no lane.
struct ConversationLanes<Key: Hashable & Sendable, Item> {
    /// What may happen now.
    enum Start {
        case start(Ticket, Item)
        /// A paused command has its slot again.
        case resume(Ticket)
    }

    /// A started delivery; hand it back to ``finish(_:)``.
    struct Ticket: Hashable, Sendable {
        let number: UInt64
        let key: Key?
        let source: Int
    }

    private struct Entry {
        let item: Item
        let source: Int
    }

    /// What stands in line for a slot of one source, first come first served.
    private struct Line {
        var woken = FIFO<Ticket>()
        var ready = FIFO<Ready>()
    }

    private enum Ready {
        /// The head of this lane.
        case lane(Key)
        /// An item that stands in no lane.
        case free(Item)
    }

    /// A lane exists while something waits or works in it.
    private var lanes: [Key: FIFO<Entry>] = [:]
    private var lines: [Line]
    private let reserved: [Int]
    private let slots: Int
    private var runningBySource: [Int]
    private var nextTicket: UInt64 = 0
    private var turn = 0

    /// Deliveries that hold a slot.
    private(set) var running = 0
    /// Deliveries that were started, wait, and hold no slot.
    private(set) var paused = 0
    /// Deliveries that were not started.
    private(set) var waiting = 0
    /// Closed: nothing new starts, what was started may go on.
    private(set) var isClosed = false

    /// - Parameters:
    ///   - slots: how many deliveries may run at a time; at least 1.
    ///   - reserved: for each source, how many of those no other source may take; together at most `slots`, and fewer
    ///     where a source has none of its own, since it could never start anything.
    init(slots: Int, reserved: [Int]) {
        let free = slots - reserved.reduce(0, +)
        precondition(slots > 0 && (free > 0 || free == 0 && !reserved.contains(0)), "some source could never start")
        self.slots = slots
        self.reserved = reserved
        runningBySource = Array(repeating: 0, count: reserved.count)
        lines = Array(repeating: Line(), count: reserved.count)
    }

    var isIdle: Bool { running == 0 && paused == 0 }

    mutating func deliver(_ item: Item, key: Key?, source: Int) {
        waiting += 1
        guard let key else {
            lines[source].ready.append(.free(item))
            return
        }
        if lanes[key] == nil {
            lanes[key] = FIFO()
            lines[source].ready.append(.lane(key))
        }
        lanes[key]!.append(Entry(item: item, source: source))
    }

    /// The next start that the slots allow, or `nil`. Call it until it says `nil`.
    mutating func next() -> Start? {
        guard running < slots else { return nil }
        let unreserved = freeUnreservedSlots
        // Sources take turns, so that none waits behind another's backlog.
        for offset in 0..<lines.count {
            let source = (turn + offset) % lines.count
            guard runningBySource[source] < reserved[source] || unreserved > 0 else { continue }
            if let ticket = lines[source].woken.popFirst() {
                take(source)
                paused -= 1
                return .resume(ticket)
            }
            guard !isClosed, let ready = lines[source].ready.popFirst() else { continue }
            take(source)
            waiting -= 1
            let ticket: Ticket
            let item: Item
            switch ready {
            case .free(let free):
                ticket = newTicket(key: nil, source: source)
                item = free
            case .lane(let key):
                ticket = newTicket(key: key, source: source)
                item = lanes[key]!.popFirst()!.item
            }
            return .start(ticket, item)
        }
        return nil
    }

    /// The delivery is settled (or left); its lane's next one may start.
    mutating func finish(_ ticket: Ticket) {
        giveBack(ticket.source)
        guard let key = ticket.key, let lane = lanes[key] else { return }
        if let head = lane.first {
            lines[head.source].ready.append(.lane(key))
        } else {
            lanes[key] = nil
        }
    }

    /// The delivery waits without a slot.
    mutating func pause(_ ticket: Ticket) {
        giveBack(ticket.source)
        paused += 1
    }

    /// The delivery's wait is over; ``next()`` resumes it when a slot is free.
    mutating func wake(_ ticket: Ticket) {
        lines[ticket.source].woken.append(ticket)
    }

    /// Starts nothing new from now on.
    mutating func close() {
        isClosed = true
    }

    /// Takes away deliveries that have not started.
    mutating func removeWaiting(where matches: (Item) -> Bool) {
        for key in Array(lanes.keys) {
            waiting -= lanes[key]!.removeAll { matches($0.item) }
        }
        let linesBefore = lines
        for source in lines.indices { lines[source].ready = FIFO() }
        for line in linesBefore.indices {
            for ready in linesBefore[line].ready {
                switch ready {
                case .free(let item) where matches(item):
                    waiting -= 1
                case .free:
                    lines[line].ready.append(ready)
                case .lane(let key):
                    // A lane stands in the line of its head's source, and the head may be another one now.
                    if let head = lanes[key]!.first {
                        lines[head.source].ready.append(ready)
                    } else {
                        lanes[key] = nil
                    }
                }
            }
        }
    }

    /// What waits behind the started delivery of a lane, in order.
    func waiting(behind ticket: Ticket) -> [Item] {
        guard let key = ticket.key, let lane = lanes[key] else { return [] }
        return lane.map(\.item)
    }

    // MARK: -

    private var freeUnreservedSlots: Int {
        var free = slots - running
        for source in reserved.indices { free -= max(0, reserved[source] - runningBySource[source]) }
        return free
    }

    private mutating func newTicket(key: Key?, source: Int) -> Ticket {
        nextTicket += 1
        return Ticket(number: nextTicket, key: key, source: source)
    }

    private mutating func take(_ source: Int) {
        running += 1
        runningBySource[source] += 1
        turn = (source + 1) % lines.count
    }

    private mutating func giveBack(_ source: Int) {
        running -= 1
        runningBySource[source] -= 1
    }
}

/// A queue that gives its room back.
struct FIFO<Element>: Sequence {
    private var elements: [Element?] = []
    private var head = 0

    var first: Element? { head < elements.count ? elements[head] : nil }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard head < elements.count else { return nil }
        let element = elements[head]
        elements[head] = nil
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 64 && head * 2 > elements.count {
            elements.removeFirst(head)
            head = 0
        }
        return element
    }

    /// Returns how many were removed.
    mutating func removeAll(where matches: (Element) -> Bool) -> Int {
        elements.removeFirst(head)
        head = 0
        let before = elements.count
        elements.removeAll { matches($0!) }
        return before - elements.count
    }

    func makeIterator() -> some IteratorProtocol<Element> {
        elements[head...].lazy.map { $0! }.makeIterator()
    }
}
