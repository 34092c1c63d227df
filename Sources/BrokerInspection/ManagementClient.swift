// RabbitMQ's management API, as far as it says how queues were made and what policies do to them.

import AsyncHTTPClient
import Foundation
import LoopSupport
import NIOCore
import NIOHTTP1
import NIOSSL

/// Why the management API gave no answer; the text says what to do.
public struct ManagementFailure: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// What the management API tells about a virtual host.
public struct ManagedBroker: Sendable {
    /// By name, without their policies.
    public var queues: [String: QueueFacts]
    public var policies: Policies
    /// The rights of the worker's user; `nil` where they may not be seen.
    public var permissions: Permissions?
}

/// Asks the management API, and changes nothing. To be shut down before it is let go.
public struct ManagementClient: Sendable {
    /// Some thousand queues.
    private static let maximumAnswer = 64 << 20

    private let client: HTTPClient
    private let base: String
    private let user: String?
    private let authorization: String?
    private let timeLimit: Duration

    /// - Parameters:
    ///   - url: `http://` or `https://`, with user and password, and with the path where the API does not stand at the root.
    ///   - caFile: PEM file of the authorities that are trusted in place of the system's.
    ///   - timeLimit: for one answer.
    /// - Throws: ``ManagementFailure`` for a URL that is none.
    public init(url: String, caFile: String?, timeLimit: Duration) throws(ManagementFailure) {
        guard var parts = URLComponents(string: url), parts.host != nil else {
            throw ManagementFailure(description: "the URL cannot be read")
        }
        user = parts.user
        authorization = parts.user.map { user in
            "Basic " + Data("\(user):\(parts.password ?? "")".utf8).base64EncodedString()
        }
        (parts.user, parts.password) = (nil, nil)
        while parts.path.hasSuffix("/") { parts.path.removeLast() }
        base = (parts.string ?? "") + "/api"
        self.timeLimit = timeLimit
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = caFile.map { .file($0) } ?? .default
        client = HTTPClient(
            eventLoopGroupProvider: .singleton,
            configuration: HTTPClient.Configuration(
                tlsConfiguration: tls, redirectConfiguration: .disallow,
                timeout: .init(connect: TimeAmount(timeLimit)), decompression: .disabled))
    }

    public func shutDown() async {
        // It fails only where it was shut down before.
        try? await client.shutdown()
    }

    /// Reads all that it tells about a virtual host.
    ///
    /// - Parameter user: whose rights are wanted.
    public func broker(_ vhost: String, user: String) async throws(ManagementFailure) -> ManagedBroker {
        let queues: [ManagedQueue] = try await get(
            ["queues", vhost], "?columns=name,type,durable,auto_delete,exclusive,arguments")
        let own: [Policy] = try await get(["policies", vhost])
        let enforced: [Policy] = try await get(["operator-policies", vhost])
        return ManagedBroker(
            queues: Dictionary(queues.map { ($0.name, $0.facts) }, uniquingKeysWith: { first, _ in first }),
            policies: Policies(own: own, enforced: enforced),
            // Administrators alone are told.
            permissions: try? await get(["permissions", vhost, user]))
    }

    private func get<Value: Decodable>(
        _ path: [String], _ query: String = ""
    ) async throws(ManagementFailure) -> Value {
        var request = HTTPClientRequest(url: base + path.map { "/" + Self.encoded($0) }.joined() + query)
        if let authorization { request.headers.add(name: "Authorization", value: authorization) }
        let status: Int
        let body: Data
        do {
            let response = try await client.execute(request, timeout: TimeAmount(timeLimit))
            status = Int(response.status.code)
            body = Data(try await response.body.collect(upTo: Self.maximumAnswer).readableBytesView)
        } catch {
            throw Self.failure(error)
        }
        switch status {
        case 200: break
        case 401, 403:
            let reason = (try? JSONDecoder().decode(Refusal.self, from: body).reason) ?? "HTTP \(status)"
            throw ManagementFailure(description: "it refuses the user (\(reason)): \(remedy(reason, path))")
        default:
            throw ManagementFailure(
                description: "HTTP \(status) for /api/\(path[0]): is this the management plugin's address, "
                    + "and the virtual host there?")
        }
        do {
            return try JSONDecoder().decode(Value.self, from: body)
        } catch {
            throw ManagementFailure(description: "its answer for /api/\(path[0]) is not that of RabbitMQ")
        }
    }

    /// The tag alone shows nothing of a virtual host into which the user is not let.
    private func remedy(_ reason: String, _ path: [String]) -> String {
        let name = user ?? "USER"
        guard reason.contains("virtual host"), path.count > 1 else {
            return "give the right password, and the tag monitoring: rabbitmqctl set_user_tags "
                + "\(BrokerControl.quoted(name)) monitoring"
        }
        let nothing = Permissions(configure: "^$", write: "^$", read: "^$")
        return "let it in, without a right to anything: \(BrokerControl(vhost: path[1]).setPermissions(name, nothing))"
    }

    private static func failure(_ error: any Error) -> ManagementFailure {
        if TLSTrouble.isCause(of: error) { return ManagementFailure(description: TLSTrouble.words(for: error)) }
        let words =
            switch error {
            case is NIOTooManyBytesError: "its answer is too large"
            case is HTTPParserError: "what answers there does not speak HTTP; RabbitMQ's management does on port 15672"
            case let error as HTTPClientError: error.shortDescription
            // Names and addresses; never a part of the request.
            default: ConnectionTrouble.words(for: error)
            }
        return ManagementFailure(description: "it cannot be asked: \(words)")
    }

    /// As one part of a path.
    private static func encoded(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~")))
            ?? ""
    }

    private struct Refusal: Decodable {
        var reason: String
    }
}

/// A queue in the answers of the API.
private struct ManagedQueue: Decodable {
    var name: String
    var type: String?
    var durable: Bool
    var autoDelete: Bool
    var exclusive: Bool?
    var arguments: [String: QueueValue]

    private enum CodingKeys: String, CodingKey {
        case name, type, durable, exclusive, arguments
        case autoDelete = "auto_delete"
    }

    var facts: QueueFacts {
        let arguments = Dictionary(
            arguments.map { (String($0.hasPrefix("x-") ? $0.dropFirst(2) : $0[...]), $1) },
            uniquingKeysWith: { first, _ in first })
        return QueueFacts(
            kind: QueueKind(type ?? arguments["queue-type"]?.text ?? "classic"), isDurable: durable,
            isAutoDelete: autoDelete, isExclusive: exclusive ?? false, arguments: arguments)
    }
}
