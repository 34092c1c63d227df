// The port: one call to Salesforce's Interaction Service API, and how certain its end is.

public import RoutingContract

/// Makes calls. One call is one request on the wire at most: an implementation never sends a request twice. The one
/// exception: after an answer that refuses the access token, which has no effect, it may ask once more with another token,
/// and says so in ``CallResult/refusedRequests``.
public protocol RoutingAPI: Sendable {
    /// Makes one call and returns within `timeout`.
    ///
    /// - Parameters:
    ///   - command: what to call; its payload is sent byte for byte.
    ///   - timeout: for everything together: token, connection, request and answer.
    func perform(_ command: RouteCommand, timeout: Duration) async -> CallResult
}

/// How a call ended, by how certain its effect is.
public enum CallResult: Sendable, Hashable {
    /// For certain no complete request reached Salesforce: no connection, no token, TLS refused.
    case notSent(CallFailure)
    /// A complete answer came.
    case answered(CallAnswer)
    /// The request was sent, in whole or in part, and no complete answer came back.
    case effectUnknown(CallFailure)

    /// Requests of this call that were answered before the one this result is about, each with a refusal of its token:
    /// 0 or 1. They had no effect, and count as attempts.
    public var refusedRequests: Int {
        get {
            switch self {
            case .notSent(let failure), .effectUnknown(let failure): failure.refusedRequests
            case .answered(let answer): answer.refusedRequests
            }
        }
        set {
            switch self {
            case .notSent(var failure):
                failure.refusedRequests = newValue
                self = .notSent(failure)
            case .effectUnknown(var failure):
                failure.refusedRequests = newValue
                self = .effectUnknown(failure)
            case .answered(var answer):
                answer.refusedRequests = newValue
                self = .answered(answer)
            }
        }
    }
}

/// Why no answer came.
public struct CallFailure: Sendable, Hashable {
    /// Stable, lower case with hyphens: `connect-failed`, `tls-failed`, `timeout`, `connection-reset`, ….
    public var reason: String
    /// For people; holds no secret.
    public var message: String
    /// After which a call may succeed, where that is known on this side.
    public var retryAfter: Duration?
    /// See ``CallResult/refusedRequests``.
    public var refusedRequests = 0

    public init(reason: String, message: String, retryAfter: Duration? = nil) {
        self.reason = reason
        self.message = message
        self.retryAfter = retryAfter
    }
}

/// An HTTP answer, bounded in size.
public struct CallAnswer: Sendable, Hashable {
    public var status: Int
    public var body: [UInt8]
    /// `Retry-After` as it came.
    public var retryAfter: String?
    /// Whether the body was cut at the size limit, is in an encoding nobody asked for, or ended early.
    public var bodyIsUnreadable: Bool
    /// See ``CallResult/refusedRequests``.
    public var refusedRequests = 0

    public init(status: Int, body: [UInt8], retryAfter: String? = nil, bodyIsUnreadable: Bool = false) {
        self.status = status
        self.body = body
        self.retryAfter = retryAfter
        self.bodyIsUnreadable = bodyIsUnreadable
    }
}
