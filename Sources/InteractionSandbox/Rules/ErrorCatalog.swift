// The error codes that the sandbox can answer with, and the HTTP status of each.

/// A refusal of a call: what becomes an error body `{"code": …, "message": …}`.
struct Refusal: Error, Hashable, Sendable {
    var code: Int
    var message: String

    /// A refusal with the catalog's words, and what is special about this one.
    init(_ code: Int, _ detail: String? = nil) {
        self.code = code
        let general = ErrorCatalog.entry(code).message
        message = detail.map { "\(general): \($0)" } ?? general
    }

    var status: Int { ErrorCatalog.entry(code).status }
}

enum ErrorCatalog {
    /// Stands for the documented request rate limit, which has a message but neither code nor status.
    static let rateLimit = 429

    static func entry(_ code: Int) -> (status: Int, message: String) {
        entries[code] ?? (500, "Error \(code)")
    }

    /// The codes are Salesforce's (public error-code list), the messages are the sandbox's own words.
    ///
    /// **The HTTP statuses are an assumption of this project**: the public list gives none. So are status and code of
    /// the rate limit, of which only the message is documented.
    static let entries: [Int: (status: Int, message: String)] = [
        500: (500, "Internal error"),
        rateLimit: (429, "Interaction request rate limit exceeded"),
        10001: (400, "AuthorizationContext does not fit the channel address"),
        10003: (403, "The access token lacks the scope interaction_api"),
        10004: (401, "The access token is not valid"),
        10005: (403, "AuthorizationContext does not fit the access token"),
        10016: (400, "A header is missing or malformed"),
        10018: (400, "conversationIdentifier is not valid"),
        10019: (503, "The org is read-only while it is migrated"),
        10024: (400, "Flow routing needs a flow id and a fallback queue id"),
        10026: (400, "The ConversationChannelDefinition was not found"),
        10030: (400, "Give either a flow or a queue"),
        10031: (400, "The channel is not active"),
        10032: (400, "The queue id is not valid"),
        10055: (409, "A precondition failed, retry"),
        10056: (409, "Processing was aborted, retry"),
        10058: (400, "Customer error"),
        10069: (400, "AuthorizationContext and channel do not fit"),
        10070: (400, "AuthorizationContext and channel do not fit"),
        10071: (400, "The session was not found"),
        10075: (400, "The org does not support Conference"),
        10076: (400, "The org does not support cancelReason"),
        10089: (400, "Invalid parameters"),
        10093: (400, "AuthorizationContextType is not valid"),
        10094: (504, "A downstream service timed out"),
        10096: (400, "A routing attribute is too long"),
        10099: (403, "The org lacks permissions"),
        10100: (400, "A request body is required"),
        15102: (403, "CCaaS is not enabled"),
        15103: (403, "The end user has not opted in"),
        15104: (400, "The channel has no contact center"),
        15108: (400, "The channel has no service channel"),
        20004: (503, "The pod was not found"),
    ]
}
