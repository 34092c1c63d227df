// Which dead letters somebody means. Pure.

public import RoutingContract

/// The orgs of a configuration, by both of their names.
public struct OrgNames: Sendable {
    private var aliases: [OrgID: String] = [:]
    private var ids: [String: OrgID] = [:]

    public init(_ orgs: [(id: OrgID, alias: String)]) {
        for org in orgs {
            aliases[org.id] = org.alias
            ids[org.alias] = org.id
        }
    }

    /// The id behind an alias or an id of 15 or 18 characters.
    public func id(_ name: String) -> OrgID? { ids[name] ?? OrgID(name) }

    /// One name for every spelling: the alias where there is one.
    public func shown(_ name: String) -> String {
        guard let id = id(name) else { return name }
        return aliases[id] ?? id.description
    }
}

/// Conditions that a dead letter must meet, all of them; of several values of one condition any.
public struct DeadLetterFilter: Sendable {
    /// In lower case.
    public var requests: Set<String> = []
    /// As ``OrgNames/shown(_:)`` has them.
    public var orgs: Set<String> = []
    public var outcomes: Set<String> = []
    public var reasons: Set<String> = []
    /// Dead-lettered before.
    public var before: Timestamp?
    /// Dead-lettered at or after.
    public var after: Timestamp?

    public init() {}

    public var isEmpty: Bool {
        requests.isEmpty && orgs.isEmpty && outcomes.isEmpty && reasons.isEmpty && before == nil && after == nil
    }

    /// What is not known of a dead letter meets no condition about it.
    public func matches(_ letter: DeadLetter, _ names: OrgNames) -> Bool {
        func isAmong(_ wanted: Set<String>, _ value: String?) -> Bool {
            wanted.isEmpty || value.map(wanted.contains) ?? false
        }
        guard isAmong(requests, letter.requestID?.lowercased()), isAmong(orgs, letter.org.map(names.shown)),
            isAmong(outcomes, letter.outcome), isAmong(reasons, letter.reason)
        else { return false }
        if before == nil, after == nil { return true }
        guard let time = letter.deadLetteredAt else { return false }
        return before.map { time < $0 } ?? true && after.map { time >= $0 } ?? true
    }
}
