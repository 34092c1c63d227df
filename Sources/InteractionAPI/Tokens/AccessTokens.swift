// The port: where access tokens come from.

public import RoutingContract

/// Gives the access token for an org's calls.
public protocol AccessTokens: Sendable {
    /// The token for calls of `org`. Returns within `timeout`; a failure's message says what to mend and holds no secret.
    func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure>
}

/// Why there is no token, for ``CallFailure/message``.
public struct TokenFailure: Error, Sendable, Hashable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// An access token, safe to be put into a header and kept out of every log: no description, dump or mirror shows it.
public struct AccessToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    /// The value of the `Authorization` header: `Bearer …`. Secret.
    public let authorization: String

    /// Takes visible ASCII without spaces: RFC 6750 §2.1 allows less, but Salesforce's tokens hold a `!`. `nil` for
    /// anything else, or beyond 16 KiB.
    public init?(_ token: some StringProtocol) {
        guard 1...(16 * 1024) ~= token.utf8.count, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        authorization = "Bearer " + token
    }

    public var description: String { "<access token>" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [], displayStyle: .struct) }
}
