// What tokens are fetched with: each org's credentials, and the bounds of the requests.

public import RoutingContract

/// An org's part of the OAuth 2.0 JWT bearer flow (RFC 7523). Holds no secret but where secrets are.
public struct OAuthCredentials: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// `https://MyDomain.my.salesforce.com/services/oauth2/token`; plain http for a loopback host alone.
    public var tokenURL: String
    /// The app's consumer key: `iss`.
    public var clientID: String
    /// `sub`.
    public var username: String
    /// `aud`: `https://login.salesforce.com`, a sandbox's `https://test.salesforce.com`, or the My Domain.
    public var audience: String
    /// Paths of PEM files (PKCS#1 or PKCS#8, RSA, not encrypted), tried in this order: the first whose signature is
    /// accepted gives the token.
    public var keyFiles: [String]

    public init(tokenURL: String, clientID: String, username: String, audience: String, keyFiles: [String]) {
        self.tokenURL = tokenURL
        self.clientID = clientID
        self.username = username
        self.audience = audience
        self.keyFiles = keyFiles
    }

    // A consumer key is shown to administrators alone.
    public var description: String { "<OAuth credentials for \(tokenURL)>" }
    public var customMirror: Mirror { Mirror(self, children: ["tokenURL": tokenURL], displayStyle: .struct) }
}

/// What ``OAuthTokens`` is made from.
public struct OAuthSettings: Sendable, Hashable {
    public var orgs: [OrgID: OAuthCredentials]
    public var refresh = TokenRefreshPolicy()
    /// Name resolution, TCP and TLS.
    public var connectTimeout: Duration = .seconds(5)
    /// One request altogether; a round makes one for each key at most.
    public var requestTimeout: Duration = .seconds(10)
    /// Bytes of an answer; a larger one is none.
    public var maximumAnswer = 64 * 1024
    /// A PEM file of certificates that are trusted beside the system's own.
    public var extraCAFile: String?
    public var proxy: HTTPProxy?
    /// The `User-Agent` header.
    public var userAgent = "route-worker"

    public init(orgs: [OrgID: OAuthCredentials]) {
        self.orgs = orgs
    }
}
