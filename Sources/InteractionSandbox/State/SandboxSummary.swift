// The sandbox's figures at a glance.

/// What `GET /sandbox/summary` answers.
public struct SandboxSummary: Sendable, Hashable, Codable {
    /// Counted since the start or the last reset of the ledger, also over what the ledger has forgotten.
    public struct Totals: Sendable, Hashable, Codable {
        public var requests = 0
        /// By HTTP status.
        public var statuses: [Int: Int] = [:]
        /// By how they ended on the wire.
        public var endings: [Ending: Int] = [:]
        /// Requests that created a routing.
        public var created = 0
        /// Deletes that cleared at least one.
        public var clearing = 0
        /// Requests that met a fault, those to the token endpoint included.
        public var faults = 0

        enum CodingKeys: String, CodingKey { case requests, statuses, endings, created, clearing, faults }

        init() {}

        public init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            requests = try container.decode(Int.self, forKey: .requests)
            statuses = try container.decode([Int: Int].self, forKey: .statuses)
            for (name, count) in try container.decode([String: Int].self, forKey: .endings) {
                if let ending = Ending(rawValue: name) { endings[ending] = count }
            }
            created = try container.decode(Int.self, forKey: .created)
            clearing = try container.decode(Int.self, forKey: .clearing)
            faults = try container.decode(Int.self, forKey: .faults)
        }

        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(requests, forKey: .requests)
            try container.encode(statuses, forKey: .statuses)
            // A dictionary with keys of an enum would become an array.
            let named = endings.map { ($0.key.rawValue, $0.value) }
            try container.encode(Dictionary(uniqueKeysWithValues: named), forKey: .endings)
            try container.encode(created, forKey: .created)
            try container.encode(clearing, forKey: .clearing)
            try container.encode(faults, forKey: .faults)
        }
    }

    /// Pending service routings: how many wait now, and how many ended in which way.
    public struct Routings: Sendable, Hashable, Codable {
        public var waiting: Int
        public var accepted: Int
        public var cleared: Int
    }

    /// Of what the ledger holds.
    public struct RequestIDs: Sendable, Hashable, Codable {
        public var seen: Int
        public var withMoreThanOneEffect: Int
    }

    public struct Tokens: Sendable, Hashable, Codable {
        public var issued: Int
        public var refused: Int
        public var revoked: Int
    }

    public struct LedgerSize: Sendable, Hashable, Codable {
        public var entries: Int
        public var limit: Int
        /// Sequence number of the newest entry.
        public var newest: UInt64
        /// Entries dropped for newer ones or by a reset.
        public var forgotten: UInt64
    }

    /// RFC 3339, UTC.
    public var startedAt: String
    public var seed: UInt64
    public var totals: Totals
    public var routings: Routings
    public var requestIDs: RequestIDs
    public var tokens: Tokens
    public var ledger: LedgerSize

    enum CodingKeys: String, CodingKey {
        case startedAt, seed, totals, routings, tokens, ledger
        case requestIDs = "requestIds"
    }
}
