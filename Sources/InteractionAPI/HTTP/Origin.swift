// Where calls go: scheme, host and port, read from a base URL of the configuration.

/// A scheme, host and port that connections are made to. Only ever made from configuration.
struct Origin: Sendable, Hashable {
    var isTLS: Bool
    /// Lower case, without the brackets of an IPv6 address.
    var host: String
    var port: Int

    /// Host and port as a CONNECT request names them.
    var authority: String { "\(hostInURL):\(port)" }

    /// The value of the `Host` header: without the port where it is the scheme's own (RFC 9110 §7.2).
    var hostHeader: String { port == (isTLS ? 443 : 80) ? hostInURL : authority }

    var hostInURL: String { host.hostInURL }

    /// Whether the host is an address: those are not sent as SNI, and are matched against the certificate's addresses.
    var isAddress: Bool { host.contains(":") || host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || $0.isDigit } }

    /// Whether what is sent there cannot leave the machine.
    var isLoopback: Bool { host == "localhost" || host == "::1" || isAddress && host.hasPrefix("127.") }
}

/// A base URL taken apart.
struct BaseURL: Sendable, Hashable {
    var origin: Origin
    /// Empty, or starts with a slash and ends without one.
    var path: String

    /// Takes `https://host[:port][/path]` (or `http`); throws what is wrong with anything else. User names, queries and
    /// fragments have no business in a base URL and are refused.
    ///
    /// - Parameter name: what the URL is called in an error.
    init(_ text: String, called name: String = "base URL") throws(InteractionSettingsError) {
        func refuse(_ why: String) -> InteractionSettingsError {
            InteractionSettingsError("the \(name) \"\(text)\" \(why)")
        }
        let isTLS: Bool
        let rest: Substring
        if text.lowercased().hasPrefix("https://") {
            (isTLS, rest) = (true, text.dropFirst(8))
        } else if text.lowercased().hasPrefix("http://") {
            (isTLS, rest) = (false, text.dropFirst(7))
        } else {
            throw refuse("does not start with https://")
        }
        guard rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw refuse("holds a character no URL may hold")
        }
        guard !rest.contains(where: { "@?#\\\"<>".contains($0) }) else {
            throw refuse("may hold nothing but a host, a port and a path")
        }
        let authority = rest.prefix { $0 != "/" }
        var path = rest[authority.endIndex...]
        while path.hasSuffix("/") { path.removeLast() }

        var host = authority
        var portText: Substring?
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else {
                throw refuse("has an address without its closing bracket")
            }
            host = authority[authority.index(after: authority.startIndex)..<end]
            let after = authority[authority.index(after: end)...]
            guard after.isEmpty || after.hasPrefix(":") else { throw refuse("has something between host and port") }
            if !after.isEmpty { portText = after.dropFirst() }
            guard host.contains(":"), host.utf8.allSatisfy({ $0.hexadecimalValue != nil || ":.".utf8.contains($0) })
            else {
                throw refuse("has no IPv6 address between its brackets")
            }
        } else {
            if let colon = authority.firstIndex(of: ":") {
                host = authority[..<colon]
                portText = authority[authority.index(after: colon)...]
            }
            guard !host.isEmpty, host.utf8.allSatisfy({ $0.isHostCharacter }) else { throw refuse("has no valid host") }
        }
        var port = isTLS ? 443 : 80
        if let portText {
            guard portText.utf8.allSatisfy({ $0.isDigit }), let number = Int(portText), 1...65535 ~= number else {
                throw refuse("has no valid port")
            }
            port = number
        }
        origin = Origin(isTLS: isTLS, host: host.lowercased(), port: port)
        self.path = String(path)
    }
}

/// Settings that no client can be made from; the description says what is wrong.
public struct InteractionSettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}

extension String {
    /// A host as a URL has it: an IPv6 address stands in brackets (RFC 3986 §3.2.2).
    var hostInURL: String { contains(":") ? "[\(self)]" : self }
}

extension UInt8 {
    var isDigit: Bool { UInt8(ascii: "0") <= self && self <= UInt8(ascii: "9") }

    fileprivate var isLetter: Bool {
        let lower = self | 0x20
        return UInt8(ascii: "a") <= lower && lower <= UInt8(ascii: "z")
    }

    fileprivate var isHostCharacter: Bool {
        isDigit || isLetter || self == UInt8(ascii: "-") || self == UInt8(ascii: ".") || self == UInt8(ascii: "_")
    }
}
