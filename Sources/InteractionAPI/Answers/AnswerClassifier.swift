// What an answer means for its command. Pure: the codes are a table, the statuses one switch.

public import RoutingContract

/// Judges answers.
///
/// Order of judgement: what the body says (success, then a known code), then the message of the rate limit, then the
/// HTTP status. Salesforce documents no statuses for its codes, so a code always goes before a status.
public enum AnswerClassifier {
    /// Nesting of JSON that is read; a deeper body counts as none.
    private static let scanner = JSONScanner(maximumDepth: 64)

    /// Bytes of a message in an error, at most; Salesforce's own part of it is cut first.
    static let longestMessage = 600

    /// What `answer` means for a command of this kind.
    ///
    /// - Parameter now: what a `Retry-After` date is compared with.
    public static func classify(kind: CommandKind, answer: CallAnswer, now: Timestamp) -> Verdict {
        classify(kind: kind, answer: answer, document: document(of: answer), now: now)
    }

    /// The body's JSON; `nil` where it is none. An unreadable body is not looked into: what is left of it could say something
    /// else than the whole.
    public static func document(of answer: CallAnswer) -> JSONDocument? {
        answer.bodyIsUnreadable ? nil : try? scanner.scan(answer.body)
    }

    /// What `answer` means for a command of this kind.
    ///
    /// - Parameters:
    ///   - document: see ``document(of:)``.
    ///   - now: what a `Retry-After` date is compared with.
    public static func classify(
        kind: CommandKind, answer: CallAnswer, document: JSONDocument?, now: Timestamp
    ) -> Verdict {
        let retryAfter = answer.retryAfter.flatMap { RetryAfter.parse($0, now: now) }
        let root = document?.root
        if 200..<300 ~= answer.status {
            return accepted(kind: kind, status: answer.status, root: root, retryAfter: retryAfter)
        }
        let errors = root?["errors"]
        let code = number(root?["code"]) ?? number(errors?["apiErrorCode"])
        let said = root?["message"]?.string ?? errors?["errorMessage"]?.string
        if let known = code.flatMap(AnswerCode.known) { return known.verdict(said: said, retryAfter: retryAfter) }
        if isRateLimit(said) { return rateLimited(code: code, said: said, retryAfter: retryAfter) }
        if answer.bodyIsUnreadable, statusLeavesEffectOpen(answer.status) {
            return .unknown(
                CommandError(
                    message:
                        "HTTP \(answer.status) with a body that could not be read: its code may have told of an effect",
                    reason: "answer-unreadable"))
        }
        return byStatus(answer.status, code: code, said: said, retryAfter: retryAfter)
    }

    /// Whether `answer` refuses the access token. Cheap for all others: it is asked for every answer.
    static func refusesToken(kind: CommandKind, answer: CallAnswer) -> Bool {
        guard answer.status == 401 || answer.body.contains(ascii: "10004") else { return false }
        // The date matters to `Retry-After` alone.
        if case .token = classify(kind: kind, answer: answer, now: Timestamp(milliseconds: 0)) { return true }
        return false
    }

    // MARK: 2xx

    private static func accepted(kind: CommandKind, status: Int, root: JSONValue?, retryAfter: Duration?) -> Verdict {
        guard let root, root.kind == .object else {
            return .unknown(
                CommandError(message: "HTTP \(status) with a body that could not be read", reason: "answer-unreadable"))
        }
        let success = root["success"]
        switch success?.kind {
        case .boolean:
            if success?.boolean == true { return .succeeded }
        case nil, .null:
            if let id = root["psrId"]?.string, !id.isEmpty { return .succeeded }
            return .unknown(
                CommandError(
                    message: "HTTP \(status) that says neither success nor a psrId", reason: "answer-without-success"))
        case .object, .array, .string, .number:
            return .unknown(
                CommandError(
                    message: "HTTP \(status) whose success is neither true nor false", reason: "answer-without-success")
            )
        }

        let errors = root["errors"]
        let code = number(errors?["apiErrorCode"]) ?? number(root["code"])
        let said = errors?["errorMessage"]?.string ?? root["reasonForNotRouting"]?.string ?? root["message"]?.string
        if let known = code.flatMap(AnswerCode.known) { return known.verdict(said: said, retryAfter: retryAfter) }
        if isRateLimit(said) || isRateLimit(root["reasonForNotRouting"]?.string) {
            return rateLimited(code: code, said: said, retryAfter: retryAfter)
        }
        switch kind {
        case .route:
            return .rejected(
                CommandError(code: code, message: message("Salesforce did not route", said: said), reason: "not-routed")
            )
        case .delete:
            return .nothingCleared
        }
    }

    // MARK: Other statuses

    /// Statuses (RFC 9110 §15) for answers without a code of the table.
    private static func byStatus(_ status: Int, code: Int?, said: String?, retryAfter: Duration?) -> Verdict {
        func error(_ reason: String, _ text: String) -> CommandError {
            CommandError(code: code, message: message("HTTP \(status): \(text)", said: said), reason: reason)
        }
        switch status {
        case 300..<400:
            return .configuration(
                error(
                    "redirected", "redirects are not followed, so that a token stays with its host; check the base URL")
            )
        case 401:
            return .token(error("token-not-valid", "the access token was not accepted"))
        case 403:
            // Whatever stands behind it (scope, user permission, IP range, firewall), the next command meets it too.
            return .configuration(
                error(
                    "forbidden", "the app or its user may not call the API; check scope, permission sets and IP ranges")
            )
        case 404 where code == nil:
            return .configuration(error("endpoint-not-found", "there is no such API at the base URL"))
        case 407:
            return .configuration(error("proxy-authentication", "a proxy wants authentication"))
        case 415:
            return .configuration(error("media-type-refused", "the API does not take this Content-Type"))
        case 429:
            return .transient(error("rate-limited", "too many requests"), retryAfter: retryAfter)
        case 408, 425, 503:
            return .transient(error("unavailable", "the API is not available"), retryAfter: retryAfter)
        case 400..<500:
            return .rejected(error("refused", "the API refused the request"))
        default:
            return .unknown(error("server-error", "the API failed; the request may have taken effect"))
        }
    }

    /// Whether a code in the body, had it been readable, could have told of an effect. The other statuses are given
    /// before a request is looked at.
    private static func statusLeavesEffectOpen(_ status: Int) -> Bool {
        switch status {
        case 300..<400, 401, 403, 404, 407, 413, 414, 415, 429, 431: false
        default: true
        }
    }

    // MARK: Parts

    /// Documented as "Interaction request rate limit exceeded", without code or status. Asked of a message without a code of
    /// the table alone: one that repeats what a publisher wrote must not slow the whole org down.
    private static func isRateLimit(_ said: String?) -> Bool {
        guard let said, said.utf8.count <= 1000 else { return false }
        return said.lowercased().contains("rate limit exceeded")
    }

    private static func rateLimited(code: Int?, said: String?, retryAfter: Duration?) -> Verdict {
        .transient(
            CommandError(
                code: code, message: message("Salesforce's request rate limit is exceeded", said: said),
                reason: "rate-limited"),
            retryAfter: retryAfter)
    }

    /// A code as a number, or as a string of one.
    private static func number(_ value: JSONValue?) -> Int? {
        value?.integer ?? value?.string.flatMap { Int($0) }
    }

    /// Puts what Salesforce said behind our own words: bounded, and without what would break a line of a log.
    static func message(_ text: String, said: String?) -> String {
        guard let said, !said.isEmpty else { return text }
        let clean = String(
            String.UnicodeScalarView(
                said.unicodeScalars.prefix(300).map { $0.properties.generalCategory == .control ? " " : $0 }))
        return bounded("\(text). Salesforce says: \(clean)", to: longestMessage)
    }
}

extension [UInt8] {
    /// Whether these ASCII characters stand somewhere in it.
    fileprivate func contains(ascii: StaticString) -> Bool {
        withUnsafeBufferPointer { bytes in
            let needle = UnsafeBufferPointer(start: ascii.utf8Start, count: ascii.utf8CodeUnitCount)
            var rest = bytes[...]
            while let start = rest.firstIndex(of: needle[0]) {
                if rest[start...].starts(with: needle) { return true }
                rest = rest[(start + 1)...]
            }
            return false
        }
    }
}
