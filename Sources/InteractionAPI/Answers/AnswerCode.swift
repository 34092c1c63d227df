// Salesforce's error codes that /route can meet, as data: what each means and what is to be done about it.

import RoutingContract

/// One error code of the Interaction Service API.
///
/// Source: the API's public error-code list; the meanings are told in words of our own.
public struct AnswerCode: Sendable, Hashable {
    /// What a code means for the command that met it.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// The command is refused for good.
        case permanent
        /// Every command of the org would be refused until somebody changes the configuration on either side.
        case configuration
        /// Refused for now, without effect.
        case transient
        /// The command may have taken effect.
        case unknown
        /// The access token is not accepted.
        case token
    }

    public let code: Int
    public let kind: Kind
    /// A stable word for machines; see ``CommandError/reason``.
    public let reason: String
    /// What is wrong, in short.
    public let meaning: String
    /// Where somebody can do something about it, usually in Salesforce Setup.
    public let hint: String?

    private init(_ code: Int, _ kind: Kind, _ reason: String, _ meaning: String, hint: String? = nil) {
        self.code = code
        self.kind = kind
        self.reason = reason
        self.meaning = meaning
        self.hint = hint
    }

    /// Finds a code of the table.
    public static func known(_ code: Int) -> AnswerCode? { byCode[code] }

    private static let byCode = Dictionary(uniqueKeysWithValues: table.map { ($0.code, $0) })

    /// A code about one channel, session or user is `permanent` even where Setup could mend it: `configuration` stops
    /// the whole org, and one command that names a wrong channel must not do that.
    public static let table: [AnswerCode] = [
        AnswerCode(
            10001, .permanent, "context-does-not-fit-address",
            "the AuthorizationContext does not fit the channel's address",
            hint: "name the ConversationChannelDefinition that the messaging channel belongs to"),
        AnswerCode(
            10003, .configuration, "token-lacks-scope", "the access token lacks the scope interaction_api",
            hint: "Setup › App Manager: give the app the OAuth scope interaction_api, then get a new token"),
        AnswerCode(10004, .token, "token-not-valid", "the access token is not valid"),
        AnswerCode(
            10005, .configuration, "context-does-not-fit-token",
            "the AuthorizationContext does not fit the access token",
            hint: "the context must carry the prefix of the connected app that the token was issued for"),
        AnswerCode(10016, .permanent, "header-not-valid", "a header is missing or malformed"),
        AnswerCode(10018, .permanent, "conversation-not-valid", "the conversationIdentifier is not valid"),
        AnswerCode(10019, .transient, "read-only", "the org is being migrated and read-only for now"),
        AnswerCode(
            10024, .permanent, "flow-incomplete", "routing by flow needs both the flow's id and a fallback queue"),
        AnswerCode(
            10026, .permanent, "channel-definition-missing",
            "there is no ConversationChannelDefinition for the channel",
            hint: "deploy the ConversationChannelDefinition and link the messaging channel to it"),
        AnswerCode(10030, .permanent, "flow-or-queue", "a flow or a queue is to be given, and not both"),
        AnswerCode(
            10031, .permanent, "channel-not-active", "the messaging channel is not active",
            hint: "Setup › Messaging Settings: activate the channel"),
        AnswerCode(
            10032, .permanent, "queue-not-valid", "the queue's id is not valid",
            hint: "Setup › Queues: the id starts with 00G, and the queue must accept messaging sessions"),
        AnswerCode(
            10055, .transient, "precondition-failed",
            "a precondition of the conversation failed; Salesforce asks to retry"),
        AnswerCode(10056, .transient, "processing-aborted", "Salesforce aborted the processing and asks to retry"),
        AnswerCode(10058, .permanent, "customer-error", "Salesforce reports an error on the customer's side"),
        AnswerCode(
            10069, .permanent, "context-and-channel",
            "the channel's address is wrong or not open to this AuthorizationContext",
            hint: "compare the messaging channel with the ConversationChannelDefinition of the context"),
        AnswerCode(
            10070, .permanent, "context-and-channel",
            "the channel's address is not configured with this AuthorizationContext",
            hint: "compare the messaging channel with the ConversationChannelDefinition of the context"),
        AnswerCode(10071, .permanent, "session-not-found", "the messaging session was not found"),
        AnswerCode(
            10075, .permanent, "conference-not-supported", "the org cannot route with routingType Conference yet",
            hint: "the org needs a newer release; until then use Initial or Transfer"),
        AnswerCode(
            10076, .permanent, "cancel-reason-not-supported", "the org does not take a cancelReason yet",
            hint: "the org needs a newer release; until then leave cancelReason out"),
        AnswerCode(10089, .permanent, "parameters-not-valid", "the parameters are not valid"),
        AnswerCode(10093, .permanent, "context-type-not-valid", "the AuthorizationContextType is not valid"),
        AnswerCode(10094, .unknown, "downstream-timeout", "a service behind the API timed out"),
        AnswerCode(
            10096, .permanent, "attribute-too-long", "a routing attribute is longer than its channel variable may be",
            hint: "Setup › Messaging Settings: raise the length of the channel variable, or shorten the value"),
        AnswerCode(
            10099, .configuration, "org-lacks-permissions", "the org lacks the permissions for this API",
            hint: "ask Salesforce which licence or org permission is missing"),
        AnswerCode(10100, .permanent, "body-required", "the request has no body"),
        AnswerCode(
            15102, .configuration, "ccaas-not-enabled", "Contact Center as a Service is not enabled in the org",
            hint: "Setup › Partner Messaging / Contact Centers: enable it"),
        AnswerCode(15103, .permanent, "end-user-not-opted-in", "the end user has not opted in"),
        AnswerCode(
            15104, .configuration, "channel-without-contact-center",
            "the messaging channel belongs to no contact center",
            hint: "Setup › Contact Centers: add the channel to a contact center"),
        AnswerCode(
            15108, .configuration, "no-service-channel", "there is no service channel for the messaging session",
            hint: "Setup › Service Channels: create one for Messaging Session"),
        AnswerCode(20004, .transient, "pod-not-found", "Salesforce did not find the pod that serves the org"),
        AnswerCode(500, .unknown, "internal-error", "Salesforce met an internal error"),
    ]

    /// The verdict for a command that met this code. `said` is Salesforce's own message.
    func verdict(said: String?, retryAfter: Duration?) -> Verdict {
        var text = meaning
        if let hint { text += ". To do: " + hint }
        let error = CommandError(code: code, message: AnswerClassifier.message(text, said: said), reason: reason)
        return switch kind {
        case .permanent: .rejected(error)
        case .configuration: .configuration(error)
        case .transient: .transient(error, retryAfter: retryAfter)
        case .unknown: .unknown(error)
        case .token: .token(error)
        }
    }
}
