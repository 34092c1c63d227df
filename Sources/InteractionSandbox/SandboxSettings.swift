// What a sandbox is started with.

/// Settings of a sandbox; the defaults suit a first trial.
public struct SandboxSettings: Sendable {
    /// Address to listen on. The sandbox has no access control: anything but loopback shows it to the network.
    public var host = "127.0.0.1"
    /// 0 takes a free port; see ``Sandbox/port``.
    public var port = 8080

    /// Orgs with ways of their own.
    public var orgs: [SandboxOrg] = []
    /// Whether orgs that are not listed are served too. Off, a call for one is refused with 10099.
    public var acceptsAnyOrg = true

    /// Whether any bearer token will do that was neither revoked nor issued here and expired.
    public var acceptsAnyToken = true
    /// Tokens that will do beside those of the token endpoint.
    public var fixedTokens: Set<String> = []
    /// How long an issued token lives. Salesforce takes it from the org's session policy.
    public var tokenLifetime: Duration = .seconds(7200)
    /// How far ahead the `exp` of an assertion may lie; half a minute of clock skew comes on top.
    public var assertionHorizon: Duration = .seconds(300)
    /// Audiences accepted beside the login URLs of Salesforce.
    public var audiences: Set<String> = []

    /// How long after a route a rep accepts the work, which ends its pending routing; `nil` is never.
    public var acceptedAfter: Duration?
    /// Requests a second and org before the rate limit answers; `nil` is no limit. Salesforce documents 2,000.
    public var rateLimit: Int?
    /// Characters of name or value of a routing attribute before 10096. Assumed: the documentation gives no number.
    public var maximumAttributeCharacters = 255
    /// Bytes of a request body accepted.
    public var maximumBodyBytes = 1024 * 1024

    /// Fault rules from the start; see ``Fault/init(shorthand:)``.
    public var faults: [Fault] = []
    /// Seed of everything drawn: faults, latencies, ids of correlation, tokens.
    public var seed: UInt64 = 1

    /// Requests that the ledger keeps, some 250 bytes each with their count by RequestId.
    public var ledgerLimit = 1_000_000
    /// Newest requests of which the headers are kept too, some 300 bytes each.
    public var headersLimit = 50_000
    /// Routings that are kept, waiting or ended, about 300 bytes each.
    public var routingsLimit = 1_000_000

    /// Logs a line for every request.
    public var isVerbose = false

    public init() {}

    func check() throws(InvalidSandboxSettings) {
        guard (0...65535).contains(port) else {
            throw InvalidSandboxSettings(description: "the port \(port) does not lie between 0 and 65535")
        }
        if let rateLimit, rateLimit < 0 { throw InvalidSandboxSettings(description: "the rate limit is negative") }
        if let acceptedAfter, acceptedAfter < .zero {
            throw InvalidSandboxSettings(description: "the time until a rep accepts is negative")
        }
    }
}

/// An org with ways of its own. In JSON every member but `id` may be left out.
public struct SandboxOrg: Sendable, Hashable, Decodable {
    /// 15 or 18 characters, `00D…`.
    public var id: String
    /// AuthorizationContexts that the org has; `nil` takes any. One with a foreign prefix is refused with 10005,
    /// another with 10026.
    public var contexts: Set<String>?
    /// Queue ids of the org, as the calls spell them; `nil` takes any well-formed one. Others are refused with 10032.
    public var queues: Set<String>?
    /// Answers every call with 10019.
    public var isReadOnly: Bool
    /// Off: 10099.
    public var hasPermissions: Bool
    /// Off: 10075.
    public var supportsConference: Bool
    /// Off: 10076.
    public var supportsCancelReason: Bool
    /// Overrides ``SandboxSettings/rateLimit``.
    public var rateLimit: Int?
    /// `iss` of the org's assertions.
    public var consumerKey: String?
    /// `sub` of the org's assertions.
    public var username: String?
    /// PEM public keys (RSA); with any given, an assertion must be signed by one of them. None: signatures pass unread.
    public var publicKeys: [String]
    /// Off: tokens are issued without the scope `interaction_api`, and calls with them are refused with 10003.
    public var hasScope: Bool

    public init(
        id: String, contexts: Set<String>? = nil, queues: Set<String>? = nil, isReadOnly: Bool = false,
        hasPermissions: Bool = true, supportsConference: Bool = true, supportsCancelReason: Bool = true,
        rateLimit: Int? = nil, consumerKey: String? = nil, username: String? = nil, publicKeys: [String] = [],
        hasScope: Bool = true
    ) {
        self.id = id
        self.contexts = contexts
        self.queues = queues
        self.isReadOnly = isReadOnly
        self.hasPermissions = hasPermissions
        self.supportsConference = supportsConference
        self.supportsCancelReason = supportsCancelReason
        self.rateLimit = rateLimit
        self.consumerKey = consumerKey
        self.username = username
        self.publicKeys = publicKeys
        self.hasScope = hasScope
    }

    /// Reads a JSON array of orgs.
    public static func parse(_ text: String) throws(InvalidSandboxSettings) -> [SandboxOrg] {
        do {
            return try StrictJSON.decode([SandboxOrg].self, from: text)
        } catch {
            throw InvalidSandboxSettings(description: error.description)
        }
    }

    enum CodingKeys: String, CodingKey, CaseIterable {
        case id, contexts, queues, supportsConference, supportsCancelReason, rateLimit, consumerKey, username
        case publicKeys, hasPermissions, hasScope
        case isReadOnly = "readOnly"
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(notIn: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func flag(_ key: CodingKeys, _ fallback: Bool) throws -> Bool {
            try container.decodeIfPresent(Bool.self, forKey: key) ?? fallback
        }
        self.init(
            id: try container.decode(String.self, forKey: .id),
            contexts: try container.decodeIfPresent(Set<String>.self, forKey: .contexts),
            queues: try container.decodeIfPresent(Set<String>.self, forKey: .queues),
            isReadOnly: try flag(.isReadOnly, false), hasPermissions: try flag(.hasPermissions, true),
            supportsConference: try flag(.supportsConference, true),
            supportsCancelReason: try flag(.supportsCancelReason, true),
            rateLimit: try container.decodeIfPresent(Int.self, forKey: .rateLimit),
            consumerKey: try container.decodeIfPresent(String.self, forKey: .consumerKey),
            username: try container.decodeIfPresent(String.self, forKey: .username),
            publicKeys: try container.decodeIfPresent([String].self, forKey: .publicKeys) ?? [],
            hasScope: try flag(.hasScope, true))
    }
}

/// What is wrong with the settings of a sandbox.
public struct InvalidSandboxSettings: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String
}
