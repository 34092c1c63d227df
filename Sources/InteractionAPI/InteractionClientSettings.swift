// What a client is made from: the orgs' endpoints and how to reach them.

public import RoutingContract

/// Where an org's calls go.
public struct OrgEndpoint: Sendable, Hashable {
    public var org: OrgID
    /// `https://{MyDomain}.my.salesforce-scrt.com`, with a port or a path in front of `/api/v1/route` where there is one.
    public var baseURL: String

    public init(org: OrgID, baseURL: String) {
        self.org = org
        self.baseURL = baseURL
    }
}

/// What an ``InteractionClient`` is made from.
public struct InteractionClientSettings: Sendable, Hashable {
    public var endpoints: [OrgEndpoint]
    public var connections = ConnectionSettings()
    /// Whether `http` is allowed for other hosts than this machine. Tokens then travel unencrypted: for trials in a
    /// closed network alone. Salesforce does not speak it.
    public var allowsPlainHTTP = false
    /// A PEM file of certificates that are trusted beside the system's own, for a proxy that looks into TLS or a sandbox.
    public var extraCAFile: String?
    public var proxy: HTTPProxy?
    /// The `User-Agent` header.
    public var userAgent = "route-worker"

    public init(endpoints: [OrgEndpoint]) {
        self.endpoints = endpoints
    }
}
