// Which delivery may start now: one at a time per conversation, within the worker's and the org's concurrency. Pure.

import RoutingContract

/// What a lane is for, and which lanes share a limit.
protocol LaneKey: Hashable, Sendable {
    associatedtype Group: Hashable & Sendable

    /// Lanes of one group run at most so many at a time as its limit says.
    var group: Group { get }
}

/// Deliveries wait in lanes, one lane per conversation, and start in the order delivered.
///
/// A start takes one of the worker's slots. Every source (a commands queue) may have slots reserved, which no other
/// source can take; the rest is for whoever comes first. A group of lanes (an org) may have a limit of its own: what it
/// holds back stands aside and keeps nobody else waiting. A lane whose command waits (backoff, somebody else's lease)
/// gives its slot back and stays closed to its later commands; woken, it stands in line for a slot ahead of new starts.
///
/// `Item`s without a key (messages that are no valid command) stand in no lane.
struct ConversationLanes<Key: LaneKey, Item> {
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
        /// Whether it was started in spite of its group's limit, see ``startHeld(_:)``.
        let isBeyondLimit: Bool
    }

    private struct Entry {
        let item: Item
        let source: Int
        let maySetAside: Bool
    }

    /// Who stands in line for a slot.
    private enum Candidate {
        /// The head of this lane.
        case lane(Key)
        /// An item that stands in no lane.
        case free(Item)
        /// A paused command that was woken.
        case woken(Ticket)

        var isWoken: Bool { if case .woken = self { true } else { false } }
    }

    /// What stands in line for a slot of one source, first come first served.
    private struct Line {
        /// Woken commands, and what its group's limit had held back.
        var ahead = FIFO<Candidate>()
        var ready = FIFO<Candidate>()

        mutating func popFirst() -> Candidate? { ahead.popFirst() ?? ready.popFirst() }
    }

    /// A lane exists while something waits or works in it.
    private var lanes: [Key: FIFO<Entry>] = [:]
    private var lines: [Line]
    private let reserved: [Int]
    private let slots: Int
    private var runningBySource: [Int]
    private var limits: [Key.Group: Int]
    private var runningByGroup: [Key.Group: Int] = [:]
    /// What would run but for its group's limit.
    private var held: [Key.Group: FIFO<(candidate: Candidate, source: Int)>] = [:]
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
    ///   - limits: how many deliveries of a group may run at a time, each at least 1; without one, all slots.
    init(slots: Int, reserved: [Int], limits: [Key.Group: Int] = [:]) {
        let free = slots - reserved.reduce(0, +)
        precondition(slots > 0 && (free > 0 || free == 0 && !reserved.contains(0)), "some source could never start")
        precondition(limits.values.allSatisfy { $0 > 0 }, "a group that may not run")
        self.slots = slots
        self.reserved = reserved
        self.limits = limits
        runningBySource = Array(repeating: 0, count: reserved.count)
        lines = Array(repeating: Line(), count: reserved.count)
    }

    /// Lanes in which something waits or works.
    var laneCount: Int { lanes.count }

    var isIdle: Bool { running == 0 && paused == 0 }

    /// - Parameter maySetAside: whether ``startHeld(_:)`` may start it. What may not was set aside before and comes back: it
    ///   goes ahead of all in its lane that may, which was delivered later.
    mutating func deliver(_ item: Item, key: Key?, source: Int, maySetAside: Bool = false) {
        waiting += 1
        guard let key else {
            lines[source].ready.append(.free(item))
            return
        }
        let before = lanes.count
        let entry = Entry(item: item, source: source, maySetAside: maySetAside)
        if maySetAside {
            lanes[key, default: FIFO()].append(entry)
        } else {
            lanes[key, default: FIFO()].insert(entry, before: \.maySetAside)
        }
        if lanes.count > before { lines[source].ready.append(.lane(key)) }
    }

    /// The next start that the slots and limits allow, or `nil`. Call it until it says `nil`.
    mutating func next() -> Start? {
        guard running < slots else { return nil }
        let unreserved = freeUnreservedSlots
        // Sources take turns, so that none waits behind another's backlog.
        for offset in 0..<lines.count {
            let source = (turn + offset) % lines.count
            guard runningBySource[source] < reserved[source] || unreserved > 0 else { continue }
            while let candidate = lines[source].popFirst() {
                guard candidate.isWoken || !isClosed else { continue }
                if let group = group(of: candidate), isFull(group) {
                    held[group, default: FIFO()].append((candidate, source))
                } else {
                    turn = (source + 1) % lines.count
                    return start(candidate, source)
                }
            }
        }
        return nil
    }

    /// Starts one that its group's limit holds back, to be set aside without a call; `nil` where there is none, or no slot.
    mutating func startHeld(_ group: Key.Group) -> Start? {
        guard !isClosed, running < slots, held[group] != nil else { return nil }
        let unreserved = freeUnreservedSlots
        let found = held[group]!.popFirst { candidate, source in
            guard case .lane(let key) = candidate, lanes[key]!.first!.maySetAside else { return false }
            return runningBySource[source] < reserved[source] || unreserved > 0
        }
        guard case (.lane(let key), let source)? = found else { return nil }
        return begin(lanes[key]!.popFirst()!.item, key: key, source, isBeyondLimit: true)
    }

    /// The delivery is settled (or left); its lane's next one may start.
    mutating func finish(_ ticket: Ticket) {
        giveBack(ticket)
        guard let key = ticket.key, let index = lanes.index(forKey: key) else { return }
        if let head = lanes.values[index].first {
            lines[head.source].ready.append(.lane(key))
        } else {
            lanes.remove(at: index)
        }
    }

    /// The delivery waits without a slot.
    mutating func pause(_ ticket: Ticket) {
        giveBack(ticket)
        paused += 1
    }

    /// The delivery's wait is over; ``next()`` resumes it when a slot is free.
    mutating func wake(_ ticket: Ticket) {
        lines[ticket.source].ahead.append(.woken(ticket))
    }

    /// How many deliveries of a group may run at a time from now on, at least 1; `nil` for all slots. What runs already
    /// goes on.
    mutating func setLimit(_ limit: Int?, for group: Key.Group) {
        precondition(limit.map { $0 > 0 } ?? true, "a group that may not run")
        limits[group] = limit
        var free = limit.map { $0 - running(in: group) } ?? .max
        while free > 0, let (candidate, source) = held[group]?.popFirst() {
            lines[source].ahead.append(candidate)
            free -= 1
        }
    }

    /// Deliveries of a group that hold a slot.
    func running(in group: Key.Group) -> Int { runningByGroup[group, default: 0] }

    /// Starts nothing new from now on.
    mutating func close() {
        isClosed = true
        // What is woken is looked at anew: its group's slot may have been given to a new start, which now takes none.
        for (candidate, source) in held.values.joined() where candidate.isWoken {
            lines[source].ahead.append(candidate)
        }
        held = [:]
    }

    /// Takes away deliveries that have not started.
    mutating func removeWaiting(where matches: (Item) -> Bool) {
        for key in Array(lanes.keys) {
            waiting -= lanes[key]!.removeAll { matches($0.item) }
        }
        let before = (lines, held)
        lines = Array(repeating: Line(), count: lines.count)
        held = [:]
        for (source, line) in before.0.enumerated() {
            for candidate in line.ahead { keep(candidate, source, ahead: true, unless: matches) }
            for candidate in line.ready { keep(candidate, source, ahead: false, unless: matches) }
        }
        // What was held back is looked at anew.
        for group in before.1.values {
            for (candidate, source) in group { keep(candidate, source, ahead: true, unless: matches) }
        }
    }

    /// What waits behind the started delivery of a lane, in order.
    func waiting(behind ticket: Ticket) -> [Item] {
        guard let key = ticket.key, let lane = lanes[key] else { return [] }
        return lane.map(\.item)
    }

    // MARK: -

    private mutating func keep(
        _ candidate: Candidate, _ source: Int, ahead: Bool, unless matches: (Item) -> Bool
    ) {
        var source = source
        switch candidate {
        case .free(let item):
            if matches(item) {
                waiting -= 1
                return
            }
        case .lane(let key):
            guard let head = lanes[key]!.first else {
                lanes[key] = nil
                return
            }
            // A lane stands in the line of its head's source, and the head may be another one now.
            source = head.source
        case .woken:
            break
        }
        if ahead { lines[source].ahead.append(candidate) } else { lines[source].ready.append(candidate) }
    }

    private mutating func start(_ candidate: Candidate, _ source: Int) -> Start {
        switch candidate {
        case .woken(let ticket):
            take(ticket)
            paused -= 1
            return .resume(ticket)
        case .free(let item):
            return begin(item, key: nil, source)
        case .lane(let key):
            return begin(lanes[key]!.popFirst()!.item, key: key, source)
        }
    }

    private mutating func begin(_ item: Item, key: Key?, _ source: Int, isBeyondLimit: Bool = false) -> Start {
        nextTicket += 1
        waiting -= 1
        let ticket = Ticket(number: nextTicket, key: key, source: source, isBeyondLimit: isBeyondLimit)
        take(ticket)
        return .start(ticket, item)
    }

    private func group(of candidate: Candidate) -> Key.Group? {
        switch candidate {
        case .lane(let key): key.group
        case .woken(let ticket): ticket.key?.group
        case .free: nil
        }
    }

    private func isFull(_ group: Key.Group) -> Bool {
        limits[group].map { running(in: group) >= $0 } ?? false
    }

    private var freeUnreservedSlots: Int {
        var free = slots - running
        for source in reserved.indices { free -= max(0, reserved[source] - runningBySource[source]) }
        return free
    }

    private mutating func take(_ ticket: Ticket) {
        running += 1
        runningBySource[ticket.source] += 1
        if let group = ticket.key?.group { runningByGroup[group, default: 0] += 1 }
    }

    private mutating func giveBack(_ ticket: Ticket) {
        running -= 1
        runningBySource[ticket.source] -= 1
        guard let group = ticket.key?.group, let count = runningByGroup[group] else { return }
        runningByGroup[group] = count > 1 ? count - 1 : nil
        guard !isFull(group), let (candidate, source) = held[group]?.popFirst() else { return }
        lines[source].ahead.append(candidate)
    }
}

extension ConversationKey: LaneKey {
    var group: OrgID { org }
}

/// A queue that gives its room back.
struct FIFO<Element>: Sequence {
    private var elements: [Element?] = []
    private var head = 0

    var first: Element? { head < elements.count ? elements[head] : nil }

    mutating func append(_ element: Element) { elements.append(element) }

    /// Puts it in front of the first that matches; at the end where none does.
    mutating func insert(_ element: Element, before matches: (Element) -> Bool) {
        elements.insert(element, at: elements[head...].firstIndex { matches($0!) } ?? elements.endIndex)
    }

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

    /// Takes out the first that matches.
    mutating func popFirst(where matches: (Element) -> Bool) -> Element? {
        guard let index = elements[head...].firstIndex(where: { matches($0!) }) else { return nil }
        return index == head ? popFirst() : elements.remove(at: index)
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
