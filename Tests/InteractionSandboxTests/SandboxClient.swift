// A client for the tests: the calls of a partner, and a raw socket that tells a reset from a close.

import AsyncHTTPClient
import Foundation
import InteractionSandbox
import Logging
import NIOCore

/// What came back.
struct Answer {
    var status: Int
    var text: String
    var headers: [String: String]

    var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any] ?? [:]
    }
    var code: Int? { object["code"] as? Int }
    var success: Bool? { object["success"] as? Bool }
}

let quiet = Logger(label: "quiet") { _ in SwiftLogNoOpLogHandler() }

struct SandboxClient {
    static let org = "00DSB0000000001"
    static let queue = "00GSB0000000001"
    static let flow = "300SB0000000001"

    let baseURL: String

    /// Calls `/api/v1/route`; a header set to `nil` is left out.
    func call(
        _ method: String = "POST", conversation: String = UUID().uuidString, request: String = UUID().uuidString,
        body: String? = nil, headers changes: [String: String?] = [:], timeout: TimeAmount = .seconds(30)
    ) async throws -> Answer {
        var headers: [String: String?] = [
            "Authorization": "Bearer secret-token", "OrgId": Self.org, "AuthorizationContext": "Partner1_Channel1",
            "RequestId": request, "Content-Type": "application/json",
        ]
        for (name, value) in changes { headers[name] = value }
        let plain =
            method == "POST"
            ? #"{"conversationIdentifier":"\#(conversation)","routingType":"Initial"}"#
            : #"{"conversationIdentifier":"\#(conversation)"}"#
        return try await send(
            method, "/api/v1/route", headers: headers.compactMapValues { $0 }, body: body ?? plain, timeout: timeout)
    }

    func send(
        _ method: String, _ path: String, headers: [String: String] = [:], body: String? = nil,
        timeout: TimeAmount = .seconds(30)
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: baseURL + path)
        request.method = .init(rawValue: method)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: timeout)
        let bytes = try await response.body.collect(upTo: 64 * 1024 * 1024)
        return Answer(
            status: Int(response.status.code), text: String(buffer: bytes),
            headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }, uniquingKeysWith: { $1 }))
    }

    func fault(_ text: String) async throws -> Answer {
        try await send("POST", "/sandbox/faults", body: text)
    }

    /// A route as it stands on the wire.
    func wire(request: String) -> String {
        let body = #"{"conversationIdentifier":"\#(UUID().uuidString)","routingType":"Initial"}"#
        return """
            POST /api/v1/route HTTP/1.1\r
            Host: localhost\r
            Authorization: Bearer secret-token\r
            OrgId: \(Self.org)\r
            AuthorizationContext: Partner1_Channel1\r
            RequestId: \(request)\r
            Content-Type: application/json\r
            Content-Length: \(body.utf8.count)\r
            \r
            \(body)
            """
    }
}

/// How a raw exchange ended.
enum WireEnd: Equatable { case closed, reset, failed(Int32) }

/// Sends `text` on a connection of its own and reads until the peer ends it.
func exchange(_ text: String, port: Int) async -> (received: String, end: WireEnd) {
    await withCheckedContinuation { continuation in
        // A thread of its own: blocking calls on Dispatch's threads starve the tasks of the sandbox, which share them.
        Thread.detachNewThread {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let connected = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard connected == 0, send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL)) > 0 else {
                continuation.resume(returning: ("", .failed(errno)))
                return
            }
            var received: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = recv(descriptor, &chunk, chunk.count, 0)
                if count > 0 {
                    received += chunk[..<count]
                } else {
                    let end: WireEnd = count == 0 ? .closed : errno == ECONNRESET ? .reset : .failed(errno)
                    continuation.resume(returning: (String(decoding: received, as: UTF8.self), end))
                    return
                }
            }
        }
    }
}
