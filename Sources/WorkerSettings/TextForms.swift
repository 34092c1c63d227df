// The forms of values that are text: names, paths, ids, patterns.

import RoutingContract

extension ValueForm<String> {
    static var workerName: ValueForm {
        ValueForm("1 to 128 printable ASCII characters") { text throws(Refusal) in
            guard (1...128).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
                throw Refusal("is no worker name, write 1 to 128 printable ASCII characters")
            }
            return text
        }
    }

    static var path: ValueForm {
        ValueForm("path of a file") { text throws(Refusal) in
            guard !text.isEmpty, !text.contains(where: \.isControl) else {
                throw Refusal("is no path, write the path of a file")
            }
            return text
        }
    }

    static var folder: ValueForm {
        let path = ValueForm.path
        return ValueForm("path of a folder", parse: path.parse)
    }

    /// The bound leaves room for the names that are made of it, of which the parking queue of a partition has the longest: with
    /// `.127.parked.` and the 15 characters of an org's id it is a short string of AMQP 0-9-1, which has 255 bytes at most.
    static var queueName: ValueForm {
        ValueForm("queue name, 1 to 228 bytes") { text throws(Refusal) in
            guard (1...228).contains(text.utf8.count), !text.contains(where: \.isControl) else {
                throw Refusal("is no queue name, write 1 to 228 bytes without control characters")
            }
            guard !text.hasPrefix("amq.") else {
                throw Refusal("starts with amq., which the broker keeps for itself, choose another name")
            }
            return text
        }
    }

    /// It becomes an HTTP header.
    static var context: ValueForm {
        ValueForm("developer name of a ConversationChannelDefinition") { text throws(Refusal) in
            guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw Refusal("is no developer name, write 1 to 255 ASCII characters without spaces")
            }
            return text
        }
    }

    static var orgName: ValueForm {
        ValueForm("alias or id of an org") { text throws(Refusal) in
            guard !text.isEmpty else { throw Refusal("is empty, write the alias or id of an org") }
            return text
        }
    }

    static var alias: ValueForm {
        ValueForm("1 to 64 letters, digits, `-`, `_`, `.`") { text throws(Refusal) in
            guard (1...64).contains(text.utf8.count), text.utf8.allSatisfy(\.isAliasByte) else {
                throw Refusal("is no alias, write 1 to 64 letters, digits, hyphens, underscores or dots")
            }
            guard OrgID(text) == nil else {
                throw Refusal("has the form of an org id, choose a name as the alias and write the id under it as id:")
            }
            return text
        }
    }

    static var clientID: ValueForm {
        ValueForm("consumer key") { text throws(Refusal) in
            guard (1...512).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw Refusal("is no consumer key, write 1 to 512 ASCII characters without spaces")
            }
            return text
        }
    }

    static var username: ValueForm {
        ValueForm("username of a Salesforce user") { text throws(Refusal) in
            guard (1...255).contains(text.utf8.count), !text.contains(where: { $0.isControl || $0.isWhitespace }) else {
                throw Refusal("is no username, write 1 to 255 bytes without spaces")
            }
            return text
        }
    }

    static var variableName: ValueForm {
        ValueForm("name of an environment variable") { text throws(Refusal) in
            guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first),
                text.utf8.allSatisfy({ $0.isAliasByte && $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: ".") })
            else {
                throw Refusal("is no name of an environment variable, write the name and not the token itself")
            }
            return text
        }
    }
}

extension ValueForm<Settings.ListenAddress> {
    static var listenAddress: ValueForm {
        ValueForm("`HOST:PORT`") { text throws(Refusal) in
            guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
                throw Refusal("has no port, write HOST:PORT")
            }
            var host = text[..<colon]
            if host.first == "[", host.last == "]" {
                host = host.dropFirst().dropLast()
            } else if host.contains(":") {
                throw Refusal("is an IPv6 address without brackets, write [ADDRESS]:PORT")
            }
            guard !host.isEmpty, host.utf8.allSatisfy({ $0.isAliasByte || $0 == UInt8(ascii: ":") }) else {
                throw Refusal("names no host, write HOST:PORT, such as 127.0.0.1:9464 or 0.0.0.0:9464")
            }
            return Settings.ListenAddress(host: String(host), port: Int(port))
        }
    }
}

extension ValueForm<OrgID> {
    static var orgID: ValueForm {
        ValueForm("15 or 18 characters, `00D…`") { text throws(Refusal) in
            guard let id = OrgID(text) else {
                throw Refusal("is no org id, write the 15 or 18 letters and digits that start with 00D")
            }
            return id
        }
    }
}

extension ValueForm<ReplyPattern> {
    static var replyPattern: ValueForm {
        let directReplyTo = "amq.rabbitmq.reply-to"
        return ValueForm("queue name, `prefix*` or `\(directReplyTo)`") { text throws(Refusal) in
            if text == directReplyTo || text == directReplyTo + ".*" || text == directReplyTo + "*" {
                return .directReplyTo
            }
            guard let star = text.firstIndex(of: "*") else {
                return .queue(try ValueForm<String>.queueName.parse(text))
            }
            guard star == text.index(before: text.endIndex) else {
                throw Refusal("has a * before its end, write one at the end alone (prefix*)")
            }
            guard star != text.startIndex else {
                throw Refusal("would match every queue, write a prefix before the *")
            }
            return .prefix(try ValueForm<String>.queueName.parse(String(text[..<star])))
        }
    }
}

extension ValueForm<Settings.Store.Location> {
    static var storeURL: ValueForm {
        ValueForm("`memory:`, `sqlite:PATH`, or a `postgres://`, `redis://` or `rediss://` URL") {
            text throws(Refusal) in
            if text == "memory:" { return .memory }
            switch text[..<(text.firstIndex(of: ":") ?? text.startIndex)] {
            case "sqlite":
                let path = String(text.dropFirst("sqlite:".count))
                guard !path.isEmpty, path != ":memory:", !path.contains(where: \.isControl) else {
                    throw Refusal("names no file, write sqlite:PATH (or memory: to keep nothing)")
                }
                return .sqlite(path: path)
            case "postgres", "postgresql":
                let parts = try URLParts(text, schemes: ["postgres", "postgresql"])
                guard !parts.path.dropFirst().isEmpty, !parts.path.dropFirst().contains("/") else {
                    throw Refusal("names no database, write postgres://HOST/DATABASE")
                }
                return .postgres(SecretURL(text, parts: parts))
            case "redis", "rediss":
                let parts = try URLParts(text, schemes: ["redis", "rediss"])
                guard parts.query == nil else { throw Refusal("has a query, write redis://HOST/DATABASE alone") }
                guard parts.path.dropFirst().isEmpty || UInt16(parts.path.dropFirst()) != nil else {
                    throw Refusal("has a path that is no number of a database, write redis://HOST/0")
                }
                return .redis(SecretURL(text, parts: parts))
            default:
                throw Refusal("names no store, write memory:, sqlite:PATH, postgres://…, redis://… or rediss://…")
            }
        }
    }
}

extension Character {
    var isControl: Bool { unicodeScalars.contains { $0.properties.generalCategory == .control } }
}

extension UInt8 {
    fileprivate var isAliasByte: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}
