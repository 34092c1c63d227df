// The client behind the port: from a command to a request, and through the pool.

import NIOConcurrencyHelpers
public import NIOCore
public import RoutingContract

/// Calls the Interaction Service API over kept-alive HTTP/1.1 connections.
///
/// Headers and paths are those of the public reference: `POST /api/v1/route` routes, `DELETE` with a body clears.
/// Certificates are always verified in full, redirects are never followed, and a request is never sent twice, but for the
/// one case that the port names: the answer refused the token.
public final class InteractionClient: RoutingAPI {
    /// What is the same for every call of an org.
    fileprivate struct PreparedOrg: Sendable {
        var origin: Origin
        /// What the heads of its requests begin with.
        var route: RequestHead
        var delete: RequestHead
        /// What stands around the payload; `nil` where it is the whole body.
        var form: MultipartForm?
    }

    /// Longer timeouts are cut to this: clocks overflow, and nobody waits a day.
    private static let longestTimeout = Duration.seconds(24 * 3600)

    /// The orgs that calls can be made for, ready to be called; see ``InteractionClient/prepare(_:)``.
    public struct Orgs: Sendable {
        fileprivate var prepared: [OrgID: PreparedOrg] = [:]
        fileprivate var misconfigured: [OrgID: String] = [:]
    }

    /// Looked at once for each call, so that a call goes on with what it began with.
    private let orgs: NIOLockedValueBox<Orgs>
    private let tokens: any AccessTokens
    private let pool: HTTPPool
    private let userAgent: String
    private let allowsPlainHTTP: Bool
    private let usesProxy: Bool

    /// - Parameters:
    ///   - eventLoop: does all the work; calls from an actor on the same loop cost no hop.
    /// - Throws: ``InteractionSettingsError`` for a base URL, CA file or value that cannot be used.
    public init(
        settings: InteractionClientSettings, tokens: any AccessTokens, eventLoop: any EventLoop
    ) throws(InteractionSettingsError) {
        guard settings.userAgent.isHeaderSafe else {
            throw InteractionSettingsError("the user agent cannot be a header")
        }
        if let authorization = settings.proxy?.authorization, !authorization.isHeaderSafe {
            throw InteractionSettingsError("the proxy's authorization cannot be a header")
        }
        self.tokens = tokens
        userAgent = settings.userAgent
        allowsPlainHTTP = settings.allowsPlainHTTP
        usesProxy = settings.proxy != nil
        orgs = NIOLockedValueBox(Orgs())
        pool = HTTPPool(
            eventLoop: eventLoop, settings: settings.connections,
            tls: try ClientTLS.context(extraCAFile: settings.extraCAFile), proxy: settings.proxy)
        let prepared = try prepare(settings.endpoints)
        replaceOrgs(with: prepared)
    }

    /// Makes orgs ready to be called.
    ///
    /// - Parameter misconfigured: orgs whose settings cannot be used, and why; a call for one is not sent.
    /// - Throws: ``InteractionSettingsError`` for a base URL that cannot be used, or an org that is there twice.
    public func prepare(
        _ endpoints: [OrgEndpoint], misconfigured: [OrgID: String] = [:]
    ) throws(InteractionSettingsError) -> Orgs {
        var orgs = Orgs()
        for endpoint in endpoints {
            let base = try BaseURL(endpoint.baseURL)
            guard base.origin.isTLS || base.origin.isLoopback || allowsPlainHTTP else {
                throw InteractionSettingsError(
                    "the base URL \"\(endpoint.baseURL)\" of org \(endpoint.org) would send its token unencrypted: use https"
                )
            }
            if base.origin.isTLS, base.origin.isAddress, usesProxy {
                // The certificate would be matched against the address of the peer, which is the proxy's.
                throw InteractionSettingsError(
                    "the base URL \"\(endpoint.baseURL)\" must name a host, not an address, to be reached through a proxy"
                )
            }
            let form = endpoint.bodyFormat == .multipart ? MultipartForm() : nil
            func head(_ method: RequestHead.Method) -> RequestHead {
                var head = RequestHead(method, uri: base.path + "/api/v1/route")
                head.add("Host", base.origin.hostHeader)
                head.add("User-Agent", userAgent)
                head.add("Accept", "application/json")
                head.add("Content-Type", form?.contentType ?? "application/json")
                head.add("OrgId", endpoint.org.description)
                return head
            }
            let prepared = PreparedOrg(
                origin: base.origin, route: head(.post), delete: head(.delete), form: form)
            guard orgs.prepared.updateValue(prepared, forKey: endpoint.org) == nil else {
                throw InteractionSettingsError("org \(endpoint.org) has two endpoints")
            }
        }
        orgs.misconfigured = misconfigured
        return orgs
    }

    /// From now on calls are made for these orgs. Calls that have begun, and connections, stay as they are.
    public func replaceOrgs(with orgs: Orgs) {
        self.orgs.withLockedValue { $0 = orgs }
    }

    public func perform(_ command: RouteCommand, timeout: Duration) async -> CallResult {
        let timeout = min(timeout, Self.longestTimeout)
        let deadline = NIODeadline.now() + TimeAmount(timeout)
        let (found, trouble) = orgs.withLockedValue {
            ($0.prepared[command.key.org], $0.misconfigured[command.key.org])
        }
        guard let org = found else {
            return .notSent(
                CallFailure(
                    CallFailure.Reason.orgNotConfigured,
                    trouble.map { "org \(command.key.org) is misconfigured: \($0)" }
                        ?? "org \(command.key.org) has no endpoint"))
        }
        guard command.context.isHeaderSafe, command.contextType?.isHeaderSafe ?? true else {
            return .notSent(
                CallFailure(CallFailure.Reason.unsafeHeader, "AuthorizationContext or its type cannot be a header"))
        }
        switch await tokens.token(for: command.key.org, timeout: timeout) {
        case .failure(let failure):
            return .notSent(CallFailure(failure))
        case .success(let token):
            let request = Self.request(for: command, org: org, token: token)
            let result = await pool.send(request, to: org.origin, deadline: deadline)
            guard case .answered(let answer) = result,
                AnswerClassifier.refusesToken(kind: command.key.kind, answer: answer)
            else { return result }
            return await performAgain(command, org, refused: token, deadline: deadline) ?? result
        }
    }

    /// Opens a connection to an org, TLS and proxy included, sends nothing over it and closes it.
    ///
    /// - Returns: why there is none, or `nil`.
    public func connect(to org: OrgID) async -> CallFailure? {
        guard let found = orgs.withLockedValue({ $0.prepared[org] }) else {
            return CallFailure(CallFailure.Reason.orgNotConfigured, "org \(org) has no endpoint")
        }
        return await pool.connect(to: found.origin)
    }

    /// Calls once more with another token, within the same deadline; `nil` where there is none, or no time is left. The
    /// refused request had no effect, so that this is no second one.
    private func performAgain(
        _ command: RouteCommand, _ org: PreparedOrg, refused: AccessToken, deadline: NIODeadline
    ) async -> CallResult? {
        let left = deadline - .now()
        guard left > .zero,
            let other = await tokens.token(
                for: command.key.org, insteadOf: refused, timeout: .nanoseconds(left.nanoseconds))
        else { return nil }
        var result: CallResult
        switch other {
        case .failure(let failure):
            result = .notSent(CallFailure(failure, saying: "the access token was refused, and there is no other: "))
        case .success(let token):
            guard deadline > .now() else { return nil }
            let request = Self.request(for: command, org: org, token: token)
            result = await pool.send(request, to: org.origin, deadline: deadline)
        }
        result.refusedRequests = 1
        return result
    }

    /// Ends every call, closes every connection and shuts the tokens down; for after the drain.
    public func shutDown() async {
        await pool.shutDown()
        await tokens.shutDown()
    }

    private static func request(for command: RouteCommand, org: PreparedOrg, token: AccessToken) -> HTTPRequest {
        var head =
            switch command.key.kind {
            case .route: org.route
            case .delete: org.delete
            }
        head.reserve(token.authorization.utf8.count + command.context.utf8.count + 256)
        head.add("Authorization", token.authorization)
        head.add("AuthorizationContext", command.context)
        head.add("RequestId", command.key.request.description)
        if command.key.kind == .route, let type = command.contextType { head.add("AuthorizationContextType", type) }
        // Trace context helps people; a command does not fail for it.
        if let parent = command.reply.trace.traceparent, parent.isHeaderSafe { head.add("traceparent", parent) }
        if let state = command.reply.trace.tracestate, state.isHeaderSafe { head.add("tracestate", state) }
        return head.request(with: org.form?.body(around: command.payload) ?? command.payload)
    }
}

extension CallFailure {
    /// No call without a token.
    fileprivate init(_ failure: TokenFailure, saying prefix: String = "") {
        self.init(
            reason: failure.retryAfter == nil ? Reason.tokenUnavailable : Reason.tokenNotYet,
            message: prefix + failure.description, retryAfter: failure.retryAfter)
    }
}
