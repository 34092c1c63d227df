// The fault rules in force, and which of them meets a request.

import RoutingContract

/// Why a fault rule cannot be.
public struct InvalidFault: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String

    init(_ description: String) {
        self.description = description
    }
}

struct FaultRules: Sendable {
    static let maximumRules = 1000
    /// One hour: longer than any timeout that is worth a test.
    static let maximumLatencyMilliseconds = 3_600_000

    /// What of a request the rules look at.
    struct Facts: Sendable {
        var endpoint = Fault.Endpoint.route
        var method = "POST"
        var org: OrgID?
        var request: CompactText?
        var conversation: String?
    }

    private(set) var rules: [Fault] = []
    private var lastID = 0

    /// Adds a rule behind the others and returns it with its number. A full list drops a spent rule for it.
    mutating func add(_ fault: Fault) throws(InvalidFault) -> Fault {
        try Self.check(fault)
        if rules.count == Self.maximumRules {
            guard let spent = rules.firstIndex(where: { $0.next == 0 }) else {
                throw InvalidFault("there are \(Self.maximumRules) rules already")
            }
            rules.remove(at: spent)
        }
        lastID += 1
        var fault = fault
        fault.id = lastID
        fault.hits = 0
        rules.append(fault)
        return fault
    }

    static func check(_ fault: Fault) throws(InvalidFault) {
        if let probability = fault.probability, !(0...1).contains(probability) {
            throw InvalidFault("probability must lie between 0 and 1")
        }
        if fault.probability != nil, fault.next != nil { throw InvalidFault("give either probability or next") }
        if let next = fault.next, next < 1 { throw InvalidFault("next must be at least 1") }
        if let status = fault.status, !(200...599).contains(status) {
            throw InvalidFault("status must lie between 200 and 599")
        }
        let least = fault.latencyMilliseconds ?? 0
        let most = fault.latencyMaximumMilliseconds ?? least
        guard least >= 0, most >= least, most <= maximumLatencyMilliseconds else {
            throw InvalidFault(
                "latencyMs and latencyMaxMs must be in order, between 0 and \(maximumLatencyMilliseconds)")
        }
        if fault.action == .latency, most == 0 { throw InvalidFault("latency needs latencyMs") }
        if let interval = fault.byteIntervalMilliseconds, !(0...60_000).contains(interval) {
            throw InvalidFault("byteIntervalMs must lie between 0 and 60000")
        }
        if let text = fault.retryAfter, text.contains(where: { $0.isNewline || !$0.isASCII }) {
            throw InvalidFault("retryAfter must be one line of ASCII")
        }
        if let org = fault.match.org, OrgID(org) == nil { throw InvalidFault("match.org is no org id") }
        if let method = fault.match.method, IncomingRequest.Method(rawValue: method) == nil {
            throw InvalidFault("match.method must be POST or DELETE")
        }
        switch fault.action {
        case .latency, .slowBody, .cutBody:
            if fault.effect == Fault.Effect.none {
                throw InvalidFault("\(fault.action.rawValue) plays with the right answer, so it needs an effect")
            }
        case .status, .reset, .close, .hang, .notJSON, .emptyBody, .failure: break
        }
    }

    /// The first rule that meets the request, counted as a hit.
    mutating func select(_ facts: Facts, using generator: inout some RandomNumberGenerator) -> Fault? {
        for index in rules.indices where rules[index].next != 0 && Self.fits(rules[index].match, facts) {
            if let probability = rules[index].probability,
                Double.random(in: 0..<1, using: &generator) >= probability
            {
                continue
            }
            rules[index].hits = (rules[index].hits ?? 0) + 1
            if let next = rules[index].next { rules[index].next = next - 1 }
            return rules[index]
        }
        return nil
    }

    private static func fits(_ match: Fault.Match, _ facts: Facts) -> Bool {
        guard match.endpoint == facts.endpoint else { return false }
        guard facts.endpoint == .route else { return true }
        return (match.method == nil || match.method == facts.method)
            && (match.org == nil || match.org.flatMap { OrgID($0) } == facts.org)
            && (match.requestID == nil || match.requestID.map { CompactText(ignoringCase: $0) } == facts.request)
            && (match.conversation == nil || match.conversation == facts.conversation)
    }

    mutating func removeAll() {
        rules = []
    }

    /// Returns whether there was such a rule.
    mutating func remove(id: Int) -> Bool {
        guard let index = rules.firstIndex(where: { $0.id == id }) else { return false }
        rules.remove(at: index)
        return true
    }
}

extension Fault {
    /// A wait drawn from the rule's bounds.
    func latency(using generator: inout some RandomNumberGenerator) -> Duration? {
        let least = latencyMilliseconds ?? 0
        let most = max(least, latencyMaximumMilliseconds ?? least)
        return most == 0 ? nil : .milliseconds(Int.random(in: least...most, using: &generator))
    }
}
