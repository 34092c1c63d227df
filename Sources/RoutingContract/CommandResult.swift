// How a command ended.

/// The one outcome in which a command ends. The raw value is what stands in answers and dead letters.
public enum Outcome: String, Sendable, Hashable, CaseIterable {
    /// Salesforce accepted it: 2xx with `success: true`, or a `psrId` where `success` is missing.
    case succeeded
    /// Salesforce refused it for good.
    case rejected
    /// It breaks the contract, names an unknown org, or may not use that queue or reply. Never recorded.
    case invalid
    /// Its RequestId was seen with another meaning. Never recorded.
    case conflict
    /// Its deadline passed, or would have before a call could finish, and no call was made. Never recorded.
    case expired
    /// A later delete of the conversation made this route pointless.
    case superseded
    /// Transient failures outlasted the budget and no attempt took effect.
    case exhausted
    /// At least one attempt may have taken effect and none is known to have succeeded.
    case unknown

    /// Whether a dead letter is published beside the answer. A `delete` that found nothing to clear is `rejected`
    /// without one; see ``CommandResult/needsDeadLetter``.
    public var isFailure: Bool {
        switch self {
        case .succeeded, .superseded: false
        case .rejected, .invalid, .conflict, .expired, .exhausted, .unknown: true
        }
    }
}

/// Why a command did not succeed, in a form for machines and one for people.
public struct CommandError: Sendable, Hashable {
    /// Salesforce's code (10024, …), the answer's or the one that Salesforce would have given.
    public var code: Int?
    /// For people. Never holds a secret or a body.
    public var message: String
    /// A stable word for machines, lower case with hyphens: `nothing-cleared`, `answer-unroutable`, ….
    public var reason: String

    public init(code: Int? = nil, message: String, reason: String) {
        self.code = code
        self.message = message
        self.reason = reason
    }
}

/// The body of an answer of the API, as it came.
public struct APIResponse: Sendable, Hashable {
    public let bytes: [UInt8]
    /// Whether it is JSON that can stand in an answer.
    public let isJSON: Bool

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
        isJSON = (try? JSONScanner().scan(bytes)) != nil
    }

    /// - Parameter document: what a scan of its bytes has found, which spares another one.
    public init(_ document: JSONDocument) {
        bytes = document.source
        isJSON = true
    }
}

/// What is recorded of a command and repeated to its duplicates: everything an answer needs beside its address.
public struct CommandResult: Sendable, Hashable {
    /// The reason of a `delete` that found nothing: an answer, not a failure to look into.
    public static let nothingCleared = "nothing-cleared"

    public var outcome: Outcome
    /// The status of the last HTTP answer, if there was one.
    public var httpStatus: Int?
    /// The API's last answer; put into the answer as JSON where it is JSON, otherwise as a string.
    public var response: APIResponse?
    public var error: CommandError?
    /// Calls made, including those that never reached Salesforce.
    public var attempts: Int
    public var receivedAt: Timestamp
    public var completedAt: Timestamp
    /// The name of the worker that completed it.
    public var worker: String

    public var needsDeadLetter: Bool { outcome.isFailure && error?.reason != Self.nothingCleared }

    public init(
        outcome: Outcome, httpStatus: Int? = nil, response: APIResponse? = nil, error: CommandError? = nil,
        attempts: Int = 0, receivedAt: Timestamp, completedAt: Timestamp, worker: String
    ) {
        self.outcome = outcome
        self.httpStatus = httpStatus
        self.response = response
        self.error = error
        self.attempts = attempts
        self.receivedAt = receivedAt
        self.completedAt = completedAt
        self.worker = worker
    }
}
