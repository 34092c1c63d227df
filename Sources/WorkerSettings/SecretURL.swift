// URLs as settings: their form is checked here, what they lead to is not; passwords in them stay unseen.

import Foundation

/// A URL that may hold a password. Its descriptions leave user and password out.
public struct SecretURL: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The whole URL, password included: for connecting, never for printing.
    public let secretValue: String
    /// Without the brackets of an IPv6 address; in lower case.
    public let host: String
    public let port: Int?
    /// User and password as the `Authorization` of HTTP's Basic scheme has them (RFC 7617); `nil` where there are none.
    /// Secret.
    public let basicAuthorization: String?
    /// With `***` for user and password, and without its query.
    public let description: String

    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["url": description]) }

    init(_ text: String, parts: URLParts) {
        secretValue = text
        (host, self.port) = (parts.host, parts.port)
        basicAuthorization = parts.credentials.map {
            "Basic " + Data("\($0.user):\($0.password)".utf8).base64EncodedString()
        }
        let user = parts.userInfo == nil ? "" : "***@"
        let port = parts.port.map { ":\($0)" } ?? ""
        description = "\(parts.scheme)://\(user)\(parts.writtenHost)\(port)\(parts.path)"
    }
}

/// The parts of a URL (RFC 3986 §3), as they are written: nothing is decoded.
struct URLParts {
    /// In lower case.
    var scheme: String
    var userInfo: String?
    /// Without the brackets of an IPv6 address; in lower case.
    var host: String
    var port: Int?
    /// Empty, or starting with a slash.
    var path: String
    var query: String?

    var writtenHost: String { host.contains(":") ? "[\(host)]" : host }

    /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or ::1.
    var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        return numbers.count == 4 && numbers[0] == 127 && !numbers.contains(nil)
    }

    /// Whether the host is an address and no name.
    var isAddress: Bool { host.contains(":") || host.allSatisfy { $0 == "." || $0.isNumber } }

    /// User and password, decoded; `nil` where there are none, or what was encoded is no UTF-8.
    var credentials: (user: String, password: String)? {
        guard let parts = userInfo?.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false),
            let user = parts[0].removingPercentEncoding,
            let password = parts.count > 1 ? parts[1].removingPercentEncoding : ""
        else { return nil }
        return (user, password)
    }

    init(_ text: String, schemes: [String]) throws(Refusal) {
        let names = schemes.map { "\($0)://" }.joined(separator: " or ")
        guard let colon = text.firstRange(of: "://") else { throw Refusal("is not a URL, write \(names)HOST") }
        scheme = text[..<colon.lowerBound].lowercased()
        guard schemes.contains(scheme) else { throw Refusal("has the wrong scheme, write \(names)") }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Refusal("holds spaces or characters outside ASCII, percent-encode them")
        }
        guard Self.percentsAreValid(text) else {
            throw Refusal("holds a % that is not followed by two hexadecimal digits, write %25 for the sign itself")
        }
        var rest = text[colon.upperBound...]
        guard !rest.contains("#") else { throw Refusal("has a fragment, percent-encode the # as %23 or remove it") }
        if let mark = rest.firstIndex(of: "?") {
            query = String(rest[rest.index(after: mark)...])
            rest = rest[..<mark]
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        path = String(rest[slash...])
        // It may be the rest of a password with a slash, and a path is shown.
        guard !path.contains("@") else {
            throw Refusal(
                "has an @ in its path, percent-encode a / in user or password as %2F and an @ in the path as %40")
        }
        var authority = rest[..<slash]
        if let at = authority.lastIndex(of: "@") {
            userInfo = String(authority[..<at])
            authority = authority[authority.index(after: at)...]
            guard userInfo?.contains("@") == false else {
                throw Refusal("has two @, percent-encode the one in user or password as %40")
            }
        }
        let portText: Substring?
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { throw Refusal("lacks the ] after its IPv6 address") }
            host = authority[authority.index(after: authority.startIndex)..<end].lowercased()
            guard host.contains(":"), host.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else {
                throw Refusal("has no IPv6 address in its brackets, write one or leave them out")
            }
            let after = authority[authority.index(after: end)...]
            guard after.isEmpty || after.first == ":" else { throw Refusal("has text after ], write :PORT or nothing") }
            portText = after.isEmpty ? nil : after.dropFirst()
        } else {
            let end = authority.firstIndex(of: ":") ?? authority.endIndex
            host = authority[..<end].lowercased()
            guard host.utf8.allSatisfy(Self.isHostByte) else {
                throw Refusal("has a host name that is none, write letters, digits, dots and hyphens")
            }
            portText = end == authority.endIndex ? nil : authority[authority.index(after: end)...]
        }
        guard !host.isEmpty, host.utf8.count <= 253 else { throw Refusal("has no host, write \(names)HOST") }
        if let portText {
            guard let number = UInt16(portText), number > 0, portText.first != "+" else {
                throw Refusal("has a port that is none, write 1 to 65535 (a : in a password is written %3A)")
            }
            port = Int(number)
        }
    }

    private static func percentsAreValid(_ text: String) -> Bool {
        text.split(separator: "%", omittingEmptySubsequences: false).dropFirst().allSatisfy {
            $0.count >= 2 && $0.prefix(2).allSatisfy { $0.isASCII && $0.isHexDigit }
        }
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."),
            UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

extension ValueForm<SecretURL> {
    static var brokerURL: ValueForm {
        ValueForm("`amqp://` or `amqps://` URL") { text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["amqp", "amqps"])
            guard !parts.path.dropFirst().contains("/") else {
                throw Refusal("has more than one part in its path, write the virtual host with %2F for each /")
            }
            return SecretURL(text, parts: parts)
        }
    }

    static var managementURL: ValueForm {
        ValueForm("`http://` or `https://` URL") { text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["http", "https"])
            guard parts.query == nil else { throw Refusal("has a query, write https://USER:PASSWORD@HOST:PORT alone") }
            return SecretURL(text, parts: parts)
        }
    }

    static var proxyURL: ValueForm {
        ValueForm("`http://HOST:PORT`") { text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["http"])
            guard parts.port != nil else { throw Refusal("has no port, write http://HOST:PORT") }
            guard parts.path.isEmpty || parts.path == "/", parts.query == nil else {
                throw Refusal("has a path or query, write http://HOST:PORT alone")
            }
            guard parts.userInfo == nil || parts.credentials != nil else {
                throw Refusal(
                    "has a user or password that is no UTF-8 text once it is decoded, percent-encode its UTF-8")
            }
            return SecretURL(text, parts: parts)
        }
    }
}

extension ValueForm<String> {
    /// An origin to call: only the configuration decides which host gets a token, and it is never sent in the clear.
    static var baseURL: ValueForm {
        ValueForm("`https://HOST[:PORT]`; http for a loopback host only") { text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["https", "http"])
            guard parts.scheme == "https" || parts.isLoopback else {
                throw Refusal("is plain http, which would show the token to the network, write https://")
            }
            guard parts.userInfo == nil else {
                throw Refusal("holds a user or password, remove it: calls are made with the org's token")
            }
            guard parts.path.isEmpty || parts.path == "/", parts.query == nil else {
                throw Refusal("has a path or query, write scheme and host alone: the worker adds /api/v1/route")
            }
            return "\(parts.scheme)://\(parts.writtenHost)" + (parts.port.map { ":\($0)" } ?? "")
        }
    }

    /// Where assertions are sent: never in the clear either.
    static var tokenURL: ValueForm {
        ValueForm("`https://HOST[:PORT]/services/oauth2/token`; http for a loopback host only") {
            text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["https", "http"])
            guard parts.scheme == "https" || parts.isLoopback else {
                throw Refusal("is plain http, which would show the token to the network, write https://")
            }
            guard parts.userInfo == nil else {
                throw Refusal("holds a user or password, remove it: requests are signed with a key")
            }
            guard parts.query == nil else { throw Refusal("has a query, remove it") }
            guard !parts.path.contains(where: { #"<>"\"#.contains($0) }) else {
                throw Refusal("has a character in its path that no URL may hold, percent-encode it")
            }
            guard parts.path.count > 1 else {
                throw Refusal("has no path, write https://MyDomain.my.salesforce.com/services/oauth2/token")
            }
            return "\(parts.scheme)://\(parts.writtenHost)" + (parts.port.map { ":\($0)" } ?? "") + parts.path
        }
    }

    /// Compared by Salesforce letter by letter, so that it is kept as it is written.
    static var audience: ValueForm {
        ValueForm("`https://HOST`") { text throws(Refusal) in
            let parts = try URLParts(text, schemes: ["https"])
            guard parts.userInfo == nil, parts.query == nil else {
                throw Refusal("has a user or query, write https://login.salesforce.com or the like")
            }
            return text
        }
    }
}
