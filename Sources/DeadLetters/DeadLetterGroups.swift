// Dead letters by what they have in common: one reason for many points at one cause. Pure.

public import RoutingContract

/// Counts of dead letters by outcome, reason and org.
public struct DeadLetterGroups: Sendable {
    public struct Key: Sendable, Hashable {
        public var outcome: String?
        public var reason: String?
        public var org: String?
    }

    public struct Group: Sendable, Hashable {
        public var key: Key
        public var count = 0
        public var oldest: Timestamp?
        public var newest: Timestamp?
        /// The error of the first one, in words.
        public var example: String?
    }

    private var groups: [Key: Group] = [:]
    private var order: [Key] = []

    public init() {}

    public mutating func add(_ letter: DeadLetter, _ names: OrgNames) {
        let key = Key(outcome: letter.outcome, reason: letter.reason, org: letter.org.map(names.shown))
        if groups[key] == nil { order.append(key) }
        var group = groups[key] ?? Group(key: key, example: letter.error)
        group.count += 1
        if let time = letter.deadLetteredAt {
            group.oldest = min(group.oldest ?? time, time)
            group.newest = max(group.newest ?? time, time)
        }
        groups[key] = group
    }

    /// The largest first; of the same size in the order in which they were met.
    public var all: [Group] {
        order.compactMap { groups[$0] }.enumerated()
            .sorted { ($1.element.count, $0.offset) < ($0.element.count, $1.offset) }.map(\.element)
    }
}
