// Policies of a virtual host, and which of them apply to a queue. Pure.

import Foundation

/// A policy, or an operator policy.
public struct Policy: Sendable, Hashable, Decodable {
    public var name: String
    /// A regular expression, for names of queues.
    public var pattern: String
    /// `queues`, `all`, `exchanges`, or one type of queues.
    public var applyTo: String
    public var priority: Int
    /// By keys without `x-`.
    public var definition: [String: QueueValue]

    public init(
        name: String, pattern: String, applyTo: String = "queues", priority: Int = 0, definition: [String: QueueValue]
    ) {
        self.name = name
        self.pattern = pattern
        self.applyTo = applyTo
        self.priority = priority
        self.definition = definition
    }

    private enum CodingKeys: String, CodingKey {
        case name, pattern, priority, definition
        case applyTo = "apply-to"
    }

    fileprivate var expression: NSRegularExpression? {
        try? NSRegularExpression(pattern: pattern.isEmpty ? "^" : pattern)
    }

    fileprivate func applies(to queue: String, _ kind: QueueKind) -> Bool {
        let isMeant =
            switch applyTo {
            case "all", "queues": true
            case "classic_queues": kind == .classic
            case "quorum_queues": kind == .quorum
            case "streams": kind == .stream
            default: false
            }
        guard isMeant else { return false }
        return expression?.firstMatch(in: queue, range: NSRange(queue.startIndex..., in: queue)) != nil
    }

    func setting(_ key: String, _ source: (String) -> QueueFacts.Source) -> QueueFacts.Setting? {
        definition[key].map { QueueFacts.Setting(value: $0, source: source(name)) }
    }
}

/// The policies that apply to a queue: one at most of each sort.
public struct AppliedPolicies: Sendable, Hashable {
    public var own: Policy?
    /// The operator policy, whose values are added; of two numbers the smaller one counts.
    public var enforced: Policy?

    public init(own: Policy? = nil, enforced: Policy? = nil) {
        self.own = own
        self.enforced = enforced
    }
}

/// All policies of a virtual host.
///
/// The broker's own word on what applies to a queue lags behind by seconds (its statistics), and a queue is judged right
/// after a policy was mended: so it is worked out here.
public struct Policies: Sendable, Hashable {
    public var own: [Policy]
    public var enforced: [Policy]

    public init(own: [Policy] = [], enforced: [Policy] = []) {
        self.own = own
        self.enforced = enforced
    }

    func applied(to queue: String, _ kind: QueueKind) -> AppliedPolicies {
        func first(_ policies: [Policy]) -> Policy? {
            policies.filter { $0.applies(to: queue, kind) }.max { $0.priority < $1.priority }
        }
        return AppliedPolicies(own: first(own), enforced: first(enforced))
    }

    /// Names of policies whose patterns the broker takes, and this worker cannot read.
    var unreadable: [String] { (own + enforced).filter { $0.expression == nil }.map(\.name) }
}
