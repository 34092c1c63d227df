// A fault rule: which requests it meets, how often, and what it does to them.

/// A fault on demand. See ``init(shorthand:)`` for the short form of flags, and `POST /sandbox/faults` for JSON.
public struct Fault: Sendable, Hashable, Codable {
    /// What happens instead of, or to, the answer.
    public enum Action: String, Sendable, Hashable, Codable, CaseIterable {
        /// The answer comes late; see ``Fault/latencyMilliseconds``, which goes with every other action too.
        case latency
        /// The answer is ``Fault/status`` with an error body of ``Fault/code`` and ``Fault/message``, or ``Fault/body``.
        case status
        /// RST (SO_LINGER 0) instead of an answer.
        case reset
        /// FIN instead of an answer.
        case close
        /// No answer until the client goes.
        case hang
        /// The right answer, its body byte by byte, ``Fault/byteIntervalMilliseconds`` apart.
        case slowBody = "slow-body"
        /// The right answer, cut after half its body.
        case cutBody = "cut-body"
        /// 2xx with a body of HTML.
        case notJSON = "not-json"
        /// 2xx with an empty body.
        case emptyBody = "empty-body"
        /// 2xx with `success: false` and ``Fault/code`` as `apiErrorCode`.
        case failure
    }

    /// Whether the request is carried out all the same.
    public enum Effect: String, Sendable, Hashable, Codable, CaseIterable {
        case none
        /// Before the latency.
        case atOnce = "at-once"
        /// After the latency: a client that has given up by then never learns of it.
        case late
    }

    /// Which endpoint a rule is about.
    public enum Endpoint: String, Sendable, Hashable, Codable, CaseIterable { case route, token }

    /// Which requests a rule meets; what is `nil` fits all.
    public struct Match: Sendable, Hashable, Codable {
        public var endpoint: Endpoint
        /// 15 or 18 characters. Not looked at by the token endpoint.
        public var org: String?
        /// `POST` or `DELETE`.
        public var method: String?
        public var requestID: String?
        public var conversation: String?

        public init(
            endpoint: Endpoint = .route, org: String? = nil, method: String? = nil, requestID: String? = nil,
            conversation: String? = nil
        ) {
            self.endpoint = endpoint
            self.org = org
            self.method = method
            self.requestID = requestID
            self.conversation = conversation
        }

        enum CodingKeys: String, CodingKey, CaseIterable {
            case endpoint, org, method, conversation
            case requestID = "requestId"
        }

        public init(from decoder: any Decoder) throws {
            try decoder.refuseMembers(notIn: CodingKeys.self)
            let container = try decoder.container(keyedBy: CodingKeys.self)
            endpoint = try container.choice(Endpoint.self, .endpoint) ?? .route
            org = try container.decodeIfPresent(String.self, forKey: .org)
            method = try container.decodeIfPresent(String.self, forKey: .method)
            requestID = try container.decodeIfPresent(String.self, forKey: .requestID)
            conversation = try container.decodeIfPresent(String.self, forKey: .conversation)
        }
    }

    /// Given by the sandbox, from 1.
    public var id: Int?
    public var match: Match
    public var action: Action
    /// 0 to 1, drawn for every request that fits. `nil` is always.
    public var probability: Double?
    /// Requests that the rule still meets; at 0 it is spent. `nil` is without end.
    public var next: Int?
    /// Wait before the fault plays out, in ms; drawn between this and `latencyMaximumMilliseconds` where that is given.
    public var latencyMilliseconds: Int?
    public var latencyMaximumMilliseconds: Int?
    /// HTTP status; for `status` it defaults to the code's, or 503; for the wrong bodies to 202.
    public var status: Int?
    /// The API's error code.
    public var code: Int?
    public var message: String?
    /// `Retry-After` as it shall be sent: seconds, a date, or anything.
    public var retryAfter: String?
    /// A body as it shall be sent, in place of the error body of `status`.
    public var body: String?
    public var byteIntervalMilliseconds: Int?
    /// `nil` is the action's own way: `none` for `status`, `reset`, `close`, `hang` and `failure`, else `at-once`.
    public var effect: Effect?
    /// Requests met so far.
    public var hits: Int?

    public init(
        _ action: Action, match: Match = Match(), probability: Double? = nil, next: Int? = nil, status: Int? = nil,
        code: Int? = nil, latency: ClosedRange<Duration>? = nil, effect: Effect? = nil
    ) {
        self.action = action
        self.match = match
        self.probability = probability
        self.next = next
        self.status = status
        self.code = code
        latencyMilliseconds = latency.map { Int($0.lowerBound.wholeMilliseconds) }
        latencyMaximumMilliseconds = latency.map { Int($0.upperBound.wholeMilliseconds) }
        self.effect = effect
    }

    var actualEffect: Effect {
        if let effect { return effect }
        return switch action {
        case .status, .reset, .close, .hang, .failure: .none
        case .latency, .slowBody, .cutBody, .notJSON, .emptyBody: .atOnce
        }
    }

    enum CodingKeys: String, CodingKey, CaseIterable {
        case id, match, action, probability, next, status, code, message, retryAfter, body, effect, hits
        case latencyMilliseconds = "latencyMs"
        case latencyMaximumMilliseconds = "latencyMaxMs"
        case byteIntervalMilliseconds = "byteIntervalMs"
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(notIn: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        match = try container.decodeIfPresent(Match.self, forKey: .match) ?? Match()
        guard let action = try container.choice(Action.self, .action) else {
            throw DecodingError.keyNotFound(
                CodingKeys.action, .init(codingPath: decoder.codingPath, debugDescription: "a fault has an action"))
        }
        self.action = action
        probability = try container.decodeIfPresent(Double.self, forKey: .probability)
        next = try container.decodeIfPresent(Int.self, forKey: .next)
        latencyMilliseconds = try container.decodeIfPresent(Int.self, forKey: .latencyMilliseconds)
        latencyMaximumMilliseconds = try container.decodeIfPresent(Int.self, forKey: .latencyMaximumMilliseconds)
        status = try container.decodeIfPresent(Int.self, forKey: .status)
        code = try container.decodeIfPresent(Int.self, forKey: .code)
        message = try container.decodeIfPresent(String.self, forKey: .message)
        retryAfter = try container.decodeIfPresent(String.self, forKey: .retryAfter)
        body = try container.decodeIfPresent(String.self, forKey: .body)
        byteIntervalMilliseconds = try container.decodeIfPresent(Int.self, forKey: .byteIntervalMilliseconds)
        effect = try container.choice(Effect.self, .effect)
        id = try container.decodeIfPresent(Int.self, forKey: .id)
        hits = try container.decodeIfPresent(Int.self, forKey: .hits)
    }
}
