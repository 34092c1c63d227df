// The ledger as the control API shows it.

import Foundation
public import RoutingContract

/// How a request ended on the wire.
public enum Ending: String, Sendable, Hashable, Codable, CaseIterable {
    case answered
    /// Fewer bytes of body than announced, then a close.
    case answerCut = "answer-cut"
    /// RST instead of an answer.
    case connectionReset = "connection-reset"
    /// FIN instead of an answer.
    case connectionClosed = "connection-closed"
    /// Left open without an answer until the client goes.
    case neverAnswered = "never-answered"
}

/// One request to `/api/v1/route`, and what it did.
public struct LedgerEntry: Sendable, Hashable, Codable {
    public enum Effect: String, Sendable, Hashable, Codable {
        case created, cleared, none
    }

    /// Counts up from 1, also over a reset.
    public var sequence: UInt64
    /// RFC 3339, UTC.
    public var time: String
    /// `POST` or `DELETE`.
    public var method: String
    /// As it came, but an 18-character id without its suffix.
    public var org: String?
    public var requestID: String?
    public var conversation: String?
    /// As they came, names in the letter case of the request, the token hidden. Absent once `headersLimit` newer
    /// requests have come.
    public var headers: [String: String]?
    public var bodyBytes: Int
    /// Number of the fault rule that played out.
    public var fault: Int?
    public var ending: Ending
    /// The HTTP status, where one was sent.
    public var status: Int?
    /// The API's error code in the answer.
    public var code: Int?
    public var effect: Effect
    /// The routing that a `created` created.
    public var psrID: String?
    /// How many routings a `cleared` cleared.
    public var cleared: Int?

    enum CodingKeys: String, CodingKey {
        case sequence, time, method, org, conversation, headers, bodyBytes, fault, ending, status, code, effect, cleared
        case requestID = "requestId"
        case psrID = "psrId"
    }
}

/// What the ledger holds for one RequestId.
public struct EffectCount: Sendable, Hashable, Codable {
    public var requestID: String
    /// Requests that came with it.
    public var requests: Int
    /// `created` + `cleared`: more than 1 is a doubled effect, if the RequestId stands for one command.
    public var effects: Int
    /// Requests that created a routing.
    public var created: Int
    /// Deletes that cleared at least one routing.
    public var cleared: Int

    enum CodingKeys: String, CodingKey {
        case requestID = "requestId"
        case requests, effects, created, cleared
    }
}

/// Which entries of the ledger to show.
public struct LedgerFilter: Sendable, Hashable {
    public var requestID: String?
    public var conversation: String?
    /// 15 or 18 characters.
    public var org: String?
    /// Only entries from this moment on.
    public var since: Timestamp?
    /// Only entries with a greater sequence number: to page on.
    public var after: UInt64
    public var limit: Int

    public init(
        requestID: String? = nil, conversation: String? = nil, org: String? = nil, since: Timestamp? = nil,
        after: UInt64 = 0, limit: Int = 1000
    ) {
        self.requestID = requestID
        self.conversation = conversation
        self.org = org
        self.since = since
        self.after = after
        self.limit = limit
    }
}

extension Timestamp {
    static var now: Timestamp { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }
}
