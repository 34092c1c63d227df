// Requests to token endpoints, by AsyncHTTPClient: bounded in time and size, verified, never redirected.

import AsyncHTTPClient
import LoopSupport
import NIOCore
import NIOSSL
import RoutingContract

/// Makes token requests. To be shut down before it is let go.
struct TokenEndpoint: Sendable {
    /// The one kind of proxy authorization that is passed on.
    static let basic = "Basic "
    private static let grantType = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    /// Hundreds of orgs share one login host, and all ask for a token when a worker starts.
    private static let connectionsPerHost = 32

    private let client: HTTPClient
    private let settings: OAuthSettings

    init(_ settings: OAuthSettings, tls: TLSConfiguration, eventLoop: any EventLoop) {
        self.settings = settings
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(settings.connectTimeout)), decompression: .disabled)
        configuration.httpVersion = .http1Only
        configuration.connectionPool.idleTimeout = .seconds(4)
        // Pauses between attempts are made here, and the first failure says most.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = Self.connectionsPerHost
        if let proxy = settings.proxy {
            configuration.proxy = .server(
                host: proxy.host, port: proxy.port,
                authorization: proxy.authorization.map { .basic(credentials: String($0.dropFirst(Self.basic.count))) })
        }
        client = HTTPClient(eventLoopGroupProvider: .shared(eventLoop), configuration: configuration)
    }

    func shutDown() async {
        // It fails only where it was shut down before.
        try? await client.shutdown()
    }

    /// Sends one assertion. Always ends within ``OAuthSettings/requestTimeout``.
    func ask(_ url: String, assertion: String) async -> Result<TokenAnswer, TokenFailure> {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers = [
            "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
            "User-Agent": settings.userAgent,
        ]
        // A JWT is letters, digits, `-`, `_` and `.`: none needs percent-encoding.
        request.body = .bytes(ByteBuffer(string: "grant_type=\(Self.grantType)&assertion=\(assertion)"))
        do {
            return .success(try await answer(to: request))
        } catch {
            return .failure(TokenFailure("the token endpoint \(url) \(Self.words(for: error))"))
        }
    }

    /// The client's own deadline ends with the head of an answer; this one holds for the body too.
    private func answer(to request: HTTPClientRequest) async throws -> TokenAnswer {
        try await withThrowingTaskGroup(of: TokenAnswer.self) { group in
            group.addTask { [client, settings] in
                let response = try await client.execute(request, timeout: TimeAmount(settings.requestTimeout))
                let body = try await response.body.collect(upTo: settings.maximumAnswer)
                return TokenAnswer(
                    status: Int(response.status.code), body: Array(body.readableBytesView),
                    retryAfter: response.headers.first(name: "Retry-After"),
                    date: response.headers.first(name: "Date"))
            }
            group.addTask { [settings] in
                try await Task.sleep(for: settings.requestTimeout)
                throw HTTPClientError.deadlineExceeded
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { throw CancellationError() }
            return first
        }
    }

    private static func words(for error: any Error) -> String {
        switch error {
        case is NIOTooManyBytesError: "gave an answer that is too large"
        case is CancellationError: "was not waited for: the worker ends"
        case let error as HTTPClientError:
            switch error {
            case .deadlineExceeded, .readTimeout: "did not answer in time"
            case .connectTimeout: "could not be connected to in time"
            case .remoteConnectionClosed: "closed the connection without an answer"
            case .cancelled: "was not waited for: the worker ends"
            default: "could not be asked: \(error.shortDescription)"
            }
        default:
            // Names, addresses and certificates; never a part of the request.
            "could not be asked: \(bounded(ConnectionTrouble.words(for: error), to: 300))"
        }
    }
}
