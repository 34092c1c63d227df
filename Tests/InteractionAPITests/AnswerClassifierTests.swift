// What answers mean: every code, every fallback, and answers made to hurt.

import RoutingContract
import Testing

@testable import InteractionAPI

private func verdict(
    _ status: Int, _ body: String, kind: CommandKind = .route, retryAfter: String? = nil, unreadable: Bool = false
) -> Verdict {
    AnswerClassifier.classify(
        kind: kind,
        answer: CallAnswer(
            status: status, body: Array(body.utf8), retryAfter: retryAfter, bodyIsUnreadable: unreadable),
        now: Timestamp(milliseconds: 784_111_777_000))
}

extension Verdict {
    /// The verdict without its texts.
    fileprivate var kind: String {
        switch self {
        case .succeeded: "succeeded"
        case .nothingCleared: "nothingCleared"
        case .rejected: "permanent"
        case .configuration: "configuration"
        case .token: "token"
        case .transient: "transient"
        case .unknown: "unknown"
        }
    }

    fileprivate var error: CommandError? {
        switch self {
        case .succeeded, .nothingCleared: nil
        case .rejected(let error), .configuration(let error), .token(let error), .transient(let error, _),
            .unknown(let error):
            error
        }
    }
}

/// Written down a second time, from the reference.
private let expectedKinds: [String: [Int]] = [
    "permanent": [
        10001, 10016, 10018, 10024, 10026, 10030, 10031, 10032, 10058, 10069, 10070, 10071, 10075, 10076, 10089, 10093,
        10096,
        10100, 15103,
    ],
    "configuration": [10003, 10005, 10099, 15102, 15104, 15108],
    "transient": [10019, 10055, 10056, 20004],
    "unknown": [10094, 500],
    "token": [10004],
]

@Suite struct AnswerClassifierTests {
    @Test func theTableIsThatOfTheReference() {
        for (kind, codes) in expectedKinds {
            #expect(AnswerCode.table.filter { $0.kind.rawValue == kind }.map(\.code).sorted() == codes.sorted())
        }
        for code in AnswerCode.table {
            #expect(!code.meaning.isEmpty)
            #expect(code.reason.allSatisfy { $0.isLowercase || $0 == "-" })
            #expect(code.kind != .configuration || code.hint != nil, "\(code.code) does not say what to do")
        }
    }

    @Test(arguments: AnswerCode.table)
    func aCodeGoesBeforeTheStatus(code: AnswerCode) {
        // A message can repeat what the publisher wrote.
        let message = "because 'rate limit exceeded' is no such thing"
        for status in [400, 401, 403, 404, 409, 429, 500, 503] {
            for number in ["\(code.code)", "\"\(code.code)\""] {
                let verdict = verdict(status, "{\"code\":\(number),\"message\":\"\(message)\"}")
                #expect(verdict.kind == code.kind.rawValue)
                #expect(verdict.error?.code == code.code)
                #expect(verdict.error?.reason == code.reason)
                #expect(verdict.error?.message.contains("because") == true)
            }
        }
        for number in ["\(code.code)", "\"\(code.code)\""] {
            let body = "{\"success\":false,\"errors\":{\"apiErrorCode\":\(number),\"errorMessage\":\"\(message)\"}}"
            for kind in CommandKind.allCases {
                let verdict = verdict(202, body, kind: kind)
                #expect(verdict.kind == code.kind.rawValue)
                #expect(verdict.error?.code == code.code)
            }
        }
    }

    // MARK: 2xx

    @Test(arguments: [
        (#"{"success":true}"#, "succeeded"), (#"{"psrId":"0JR1"}"#, "succeeded"),
        (#"{"success":null,"psrId":"0JR1"}"#, "succeeded"), (#"{"success":true,"errors":{}}"#, "succeeded"),
        (#"{"success":false}"#, "permanent"), (#"{"success":false,"psrId":"0JR1"}"#, "permanent"),
        (#"{"success":false,"reasonForNotRouting":"no rep"}"#, "permanent"),
        (#"{"success":false,"errors":{"apiErrorCode":99999}}"#, "permanent"),
        (#"{"success":false,"errors":[1],"reasonForNotRouting":7}"#, "permanent"),
        (#"{"success":false,"reasonForNotRouting":"Interaction request rate limit exceeded"}"#, "transient"),
        (#"{}"#, "unknown"), (#"{"psrId":""}"#, "unknown"), (#"{"psrId":7}"#, "unknown"),
        (#"{"success":"true"}"#, "unknown"),
        (#"{"success":1,"psrId":"0JR1"}"#, "unknown"), ("", "unknown"), ("[]", "unknown"), ("true", "unknown"),
        (#"{"success":true"#, "unknown"), (#"{"success":true,"success":false}"#, "unknown"), ("<html>", "unknown"),
    ])
    func acceptedRoutes(body: String, kind: String) {
        for status in [200, 202, 299] { #expect(verdict(status, body).kind == kind) }
    }

    @Test func acceptedDeletes() {
        #expect(verdict(202, #"{"success":true}"#, kind: .delete) == .succeeded)
        #expect(verdict(202, #"{"success":false}"#, kind: .delete) == .nothingCleared)
        #expect(verdict(202, #"{"success":false,"errors":{"apiErrorCode":"99999"}}"#, kind: .delete) == .nothingCleared)
        #expect(verdict(202, "", kind: .delete).kind == "unknown")
        #expect(verdict(204, "", kind: .delete).kind == "unknown")
    }

    @Test func anUnreadableBodyIsNotLookedInto() {
        #expect(verdict(202, #"{"success":true}"#, unreadable: true).kind == "unknown")
        #expect(verdict(202, #"{"success":false}"#, kind: .delete, unreadable: true).kind == "unknown")
    }

    @Test func whyNotRouted() {
        let error = verdict(202, #"{"success":false,"reasonForNotRouting":"no rep\nis \u0007there"}"#).error
        #expect(error?.reason == "not-routed")
        #expect(error?.message == "Salesforce did not route. Salesforce says: no rep is  there")
    }

    // MARK: Statuses

    @Test(arguments: [
        (100, "unknown"), (101, "unknown"), (199, "unknown"), (300, "configuration"), (301, "configuration"),
        (307, "configuration"), (400, "permanent"), (401, "token"), (402, "permanent"), (403, "configuration"),
        (404, "configuration"), (405, "permanent"), (407, "configuration"), (408, "transient"), (409, "permanent"),
        (413, "permanent"), (415, "configuration"), (422, "permanent"), (425, "transient"), (429, "transient"),
        (431, "permanent"), (500, "unknown"), (501, "unknown"), (502, "unknown"), (503, "transient"), (504, "unknown"),
        (599, "unknown"), (0, "unknown"), (999, "unknown"), (-1, "unknown"),
    ])
    func withoutAKnownCode(status: Int, kind: String) {
        for body in ["", "<html>busy</html>", "{}", "[]", #"{"code":null}"#, #"{"code":{}}"#, #"{"code":"x"}"#] {
            #expect(verdict(status, body).kind == kind)
        }
    }

    @Test func anUnknownCodeIsKept() {
        let verdict = verdict(400, #"{"code":"10017","message":"no such address"}"#)
        #expect(verdict.kind == "permanent")
        #expect(verdict.error?.code == 10017)
        // Something answered for the API, so the endpoint is there and the org must not stop for one command.
        #expect(self.isRejected(status: 404, #"{"code":10017}"#))
    }

    private func isRejected(status: Int, _ body: String) -> Bool { verdict(status, body).kind == "permanent" }

    @Test func redirectsSaySo() {
        #expect(verdict(302, "").error?.reason == "redirected")
        #expect(verdict(302, "").error?.message.contains("not followed") == true)
    }

    @Test(arguments: [
        (400, "unknown"), (409, "unknown"), (422, "unknown"), (503, "unknown"), (408, "unknown"), (500, "unknown"),
        (401, "token"), (403, "configuration"), (404, "configuration"), (302, "configuration"), (429, "transient"),
        (413, "permanent"),
    ])
    func aCutBodyMayHaveToldOfAnEffect(status: Int, kind: String) {
        #expect(verdict(status, #"{"code":10016}"#, unreadable: true).kind == kind)
    }

    @Test(arguments: [400, 403, 429, 500, 503])
    func theRateLimitIsKnownByItsMessage(status: Int) {
        let verdict = verdict(status, #"{"message":"Interaction request RATE LIMIT exceeded."}"#, retryAfter: "3")
        guard case .transient(let error, let retryAfter) = verdict else { return #expect(Bool(false), "\(verdict)") }
        #expect(error.reason == "rate-limited")
        #expect(retryAfter == .seconds(3))
    }

    // MARK: Answers made to hurt

    @Test func hostileBodies() {
        let deep = String(repeating: "[", count: 100_000)
        let nested = String(repeating: #"{"errors":"#, count: 50_000)
        for status in [202, 400] {
            for body in [
                deep, nested, #"{"code":1e999}"#, #"{"code":99999999999999999999999}"#,
                #"{"code":-9223372036854775809}"#,
                #"{"code":10024.5}"#, #"{"code":"\ud800"}"#, "{\"message\":\"\u{0}\"}", #"{"code":" 10024"}"#,
                #"{"success":false,"errors":{"apiErrorCode":[10024]}}"#, "\u{FEFF}{}",
            ] { #expect(["unknown", "permanent"].contains(verdict(status, body).kind), "\(body.prefix(60))") }
        }
    }

    @Test func messagesAreBounded() {
        let long = String(repeating: "e\u{301}", count: 100_000)
        let message = verdict(400, "{\"code\":10024,\"message\":\"\(long)\"}").error?.message
        #expect((message?.utf8.count ?? 0) < 2000)
        #expect(message?.contains("fallback queue") == true)
    }

    @Test func randomBodiesNeverTrap() {
        let seed = UInt64.random(in: .min ... .max)
        var generator = SeededGenerator(seed: seed)
        let parts = [
            "{", "}", "[", "]", ":", ",", "\"", "\"success\"", "true", "false", "\"code\"", "10094", "\"errors\"",
            "\"psrId\"", "\\u",
            "\u{0}", "1e5", "-", " ", "\"apiErrorCode\"", "\"message\"",
        ]
        for _ in 0..<5000 {
            let body = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                parts.randomElement(using: &generator)!
            }.joined()
            let status = Int.random(in: 0...700, using: &generator)
            let verdict = verdict(status, body, retryAfter: body)
            if verdict == .succeeded { #expect(200..<300 ~= status, "seed \(seed): \(status) \(body)") }
            if case .transient(_, let after?) = verdict {
                #expect(.zero <= after && after <= .seconds(300), "seed \(seed)")
            }
        }
    }
}

@Suite struct RetryAfterTests {
    /// 1994-11-06 08:49:37 UTC, the moment of RFC 9110's examples, less ten seconds.
    private let now = Timestamp(milliseconds: 784_111_767_000)

    @Test(arguments: [
        ("0", 0), ("7", 7), (" 120 ", 120), ("300", 300), ("301", 300), ("86400", 300),
        ("99999999999999999999999999", 300),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 10), ("Sunday, 06-Nov-94 08:49:37 GMT", 10), ("Sun Nov  6 08:49:37 1994", 10),
        ("Sun, 06 Nov 1994 08:49:17 GMT", 0), ("Tue, 29 Feb 2028 23:59:60 GMT", 300),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        // Two digits: 2044 is not more than 50 years ahead, 2045 is, so the latter is 1945.
        ("Sunday, 06-Nov-43 08:49:37 GMT", 300), ("Sunday, 06-Nov-45 08:49:37 GMT", 0),
    ])
    func understood(text: String, seconds: Int) {
        #expect(RetryAfter.parse(text, now: now) == .seconds(seconds))
    }

    @Test(arguments: [
        "", " ", "-1", "+1", "1.5", "1e3", "soon", "٣", "0x10", "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 19944 08:49:37 GMT", "Sun, , Nov 1994 08:49:37 GMT",
        "Xyz Nov  6 08:49:37 1994",
        "1994-11-06T08:49:37Z", ",,,,,",
    ])
    func notUnderstood(text: String) {
        #expect(RetryAfter.parse(text, now: now) == nil)
    }
}
