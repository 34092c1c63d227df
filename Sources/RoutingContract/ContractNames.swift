// Every name of the contract that stands on the wire: headers, types, reasons. Each stands here once.

/// Headers that the worker reads from commands and writes on answers and dead letters. Read without regard to case.
public enum HeaderName {
    public static let command = "Command"
    public static let requestID = "RequestId"
    public static let orgID = "OrgId"
    public static let context = "AuthorizationContext"
    public static let contextType = "AuthorizationContextType"
    public static let issuedAt = "IssuedAt"
    public static let deadline = "Deadline"
    public static let traceparent = "traceparent"
    public static let tracestate = "tracestate"
    public static let replay = "Replay"
    public static let acceptDuplicate = "Accept-Duplicate"

    public static let outcome = "Outcome"
    public static let reason = "Reason"
    public static let code = "Code"
    public static let error = "Error"
    public static let httpStatus = "HttpStatus"
    public static let attempts = "Attempts"
    public static let originQueue = "OriginQueue"
    public static let originExchange = "OriginExchange"
    public static let originRoutingKey = "OriginRoutingKey"
    public static let worker = "Worker"
    public static let receivedAt = "ReceivedAt"
    public static let deadLetteredAt = "DeadLetteredAt"
    /// A table: properties and headers that a dead letter had to give up, since they would act again.
    public static let original = "Original"
    /// A table: what a command in a parking queue was before it was put there.
    public static let parked = "Parked"
}

/// Why a message is no valid command: the `reason` of its error. The raw values are stable.
public enum InvalidReason: String, Sendable, Hashable, CaseIterable {
    case commandMissing = "command-missing"
    case commandUnknown = "command-unknown"
    case requestIDMissing = "request-id-missing"
    case requestIDMalformed = "request-id-malformed"
    case orgMissing = "org-missing"
    case orgMalformed = "org-malformed"
    case orgUnknown = "org-unknown"
    case orgNotAllowed = "org-not-allowed"
    case contextMissing = "context-missing"
    case contextMalformed = "context-malformed"
    case contextTypeMalformed = "context-type-malformed"
    case issuedAtMalformed = "issued-at-malformed"
    case issuedInFuture = "issued-in-future"
    case deadlineMalformed = "deadline-malformed"
    case replayMalformed = "replay-malformed"
    case replyNotAllowed = "reply-not-allowed"
    case correlationIDTooLong = "correlation-id-too-long"
    case contentEncodingUnsupported = "content-encoding-unsupported"
    case cloudEventMalformed = "cloud-event-malformed"
    case bodyMissing = "body-missing"
    case bodyTooLarge = "body-too-large"
    case bodyMalformed = "body-malformed"
    case bodyNotObject = "body-not-object"
    case conversationMissing = "conversation-missing"
    case conversationMalformed = "conversation-malformed"
    case routingKeyMismatch = "routing-key-mismatch"
    case routingTypeMissing = "routing-type-missing"
    case routingTypeMalformed = "routing-type-malformed"
    case routingInfoMalformed = "routing-info-malformed"
    case flowAndQueue = "flow-and-queue"
    case flowIncomplete = "flow-incomplete"
    case flowMalformed = "flow-malformed"
    case queueMalformed = "queue-malformed"
    case routingAttributesMalformed = "routing-attributes-malformed"
    case cancelReasonMalformed = "cancel-reason-malformed"
    case fieldUnknown = "field-unknown"
}

/// Codes that Salesforce gives for what is refused here before it sees it. Source: the Interaction Service API's list.
enum SalesforceCode {
    static let header = 10016
    static let conversationIdentifier = 10018
    static let flowIncomplete = 10024
    static let flowAndQueue = 10030
    static let queueID = 10032
    static let parameters = 10089
    static let contextType = 10093
    static let bodyMissing = 10100
}
