// What a client is made from: the orgs' endpoints and how to reach them.

public import RoutingContract

/// Where an org's calls go.
public struct OrgEndpoint: Sendable, Hashable {
    public var org: OrgID
    /// `https://{MyDomain}.my.salesforce-scrt.com`, with a port or a path in front of `/api/v1/route` where there is one.
    public var baseURL: String
    public var bodyFormat: BodyFormat

    public init(org: OrgID, baseURL: String, bodyFormat: BodyFormat = .json) {
        self.org = org
        self.baseURL = baseURL
        self.bodyFormat = bodyFormat
    }
}

/// How a command's payload stands in a request. Its bytes are the same in both.
public enum BodyFormat: Sendable, Hashable {
    /// `application/json`: what the API's description and its present reference say.
    case json
    /// `multipart/form-data` (RFC 7578) with one part named `json`: what an earlier reference says.
    case multipart
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
