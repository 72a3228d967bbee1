//! The names of files that act by themselves, by what makes them act.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Sensitive;

/// Names of one kind, in lower case, at any depth; separated by spaces. A folder of a file's name counts with all that
/// is in it, as it does for who looks for the file: `setup.py/__main__.py`, `vite.config.js/index.js`.
struct Rule {
    why: Sensitive,
    /// Everything in folders of these names.
    folders: &'static str,
    files: &'static str,
    /// How names begin.
    starts: &'static str,
    /// How names end.
    endings: &'static str,
}

/// The first that matches counts.
const RULES: [Rule; 8] = [
    Rule {
        why: Sensitive::Git,
        folders: "",
        files: ".gitattributes .gitmodules .gitconfig .lfsconfig .mailmap",
        starts: "",
        endings: "",
    },
    Rule {
        why: Sensitive::Interpreter,
        folders: ".venv venv .tox .nox site-packages dist-packages __pycache__ .ipython",
        // `wflo.py` would be imported in the SDK's place.
        files: "pyvenv.cfg sitecustomize.py usercustomize.py wflo.py .python-version .pdbrc .pythonrc",
        starts: "",
        endings: ".pth .egg-link .pyc .pyo .pyd .so .dylib .dll",
    },
    Rule {
        why: Sensitive::Ci,
        folders: ".github .gitlab .circleci .buildkite .woodpecker .ci .husky .teamcity .forgejo \
                .gitea .mvn .githooks",
        files: ".lefthook.yml .lefthook.yaml .travis.yml appveyor.yml azure-pipelines.yml bitbucket-pipelines.yml cloudbuild.yaml \
                jenkinsfile lefthook.yml lefthook.yaml makefile gnumakefile bsdmakefile justfile \
                .justfile taskfile.yml taskfile.yaml build.rs build.zig build.xml pom.xml \
                cmakelists.txt cmakepresets.json meson.build configure sconstruct wscript gradlew \
                gradle.properties rakefile mix.exs package.swift flake.nix default.nix shell.nix \
                setup.py setup.cfg pyproject.toml conftest.py noxfile.py tox.ini pytest.ini tasks.py \
                fabfile.py dodo.py hatch_build.py gulpfile.js gruntfile.js hatch.toml pylintrc mypy.ini \
                ansible.cfg manage.py magefile.go go.work conanfile.py project.clj stack.yaml setup.hs \
                rebar.config dune earthfile buck build.bazel workspace workspace.bazel module.bazel \
                guardfile pulumi.yaml devenv.nix nx.json turbo.json angular.json cargo.toml \
                directory.build.props directory.build.targets gradle-wrapper.properties .bazelrc user.bazelrc \
                .bazelversion .rspec .simplecov .formatter.exs .credo.exs .sqlfluff nodemon.json snakefile \
                terragrunt.hcl helmfile.yaml dvc.yaml phpunit.xml phpunit.xml.dist",
        starts: ".gitlab-ci. .drone. .woodpecker. .pre-commit- .eslintrc .mocharc .babelrc .prettierrc \
                 .stylelintrc .pylintrc .flake8 .coveragerc .mypy. .ansible. .lintstagedrc karma.conf. .rubocop .parcelrc .postcssrc .nycrc .c8rc .swcrc .releaserc \
                 .commitlintrc .remarkrc .textlintrc .markdownlint .php-cs-fixer phpstan. .nodemon .golangci.",
        endings: ".mk .cmake .gradle .gradle.kts .sbt .config.js .config.cjs .config.mjs .config.ts \
                .config.mts .config.cts .csproj .fsproj .vbproj .cabal .tf",
    },
    Rule {
        why: Sensitive::Packages,
        folders: ".cargo .bundle .yarn",
        files: "package.json .npmrc .pnpmfile.cjs bunfig.toml deno.json deno.jsonc composer.json \
                gemfile pip.conf pipfile pixi.toml pnpm-workspace.yaml uv.toml .condarc nuget.config rust-toolchain rust-toolchain.toml",
        starts: ".yarnrc",
        endings: ".gemspec",
    },
    Rule {
        why: Sensitive::Container,
        folders: ".devcontainer",
        files: "vagrantfile tiltfile skaffold.yaml procfile",
        starts: "dockerfile containerfile docker-compose. compose.y compose.override. docker-bake.",
        endings: ".dockerfile",
    },
    Rule {
        why: Sensitive::Editor,
        folders: ".vscode .idea .zed .vim .nvim .fleet",
        files: ".vimrc _vimrc .gvimrc .nvimrc .exrc _exrc .nvim.lua .lvimrc .dir-locals.el \
                .dir-locals-2.el .kakrc .ycm_extra_conf.py .gdbinit .lldbinit .rprofile startup.jl \
                .irbrc .pryrc .byebugrc .iex.exs .ghci .ocamlinit .octaverc .perldb .erlang",
        starts: "",
        endings: ".sublime-project .code-workspace",
    },
    Rule {
        why: Sensitive::Agent,
        folders: ".claude .cursor .codex .gemini .continue .windsurf .aider .opencode .roo",
        files: ".mcp.json mcp.json claude.md claude.local.md agents.md gemini.md .cursorrules \
                .windsurfrules .clinerules .aider.conf.yml opencode.json",
        starts: "",
        endings: "",
    },
    Rule {
        why: Sensitive::Shell,
        folders: ".mise .config .direnv",
        files: ".profile .login .tool-versions .inputrc .nvmrc .node-version .ruby-version .envrc",
        starts: ".bash .zsh .zprofile .zlogin .cshrc .tcshrc .kshrc .mise mise. .rtx",
        endings: ".sh .bash .zsh .fish .ksh .csh .ps1 .psm1 .bat .cmd .desktop",
    },
];

/// The rules, ready to be asked; each with its place, since the first that matches counts.
struct Ready {
    whole: HashMap<&'static [u8], usize>,
    starts: Vec<(&'static [u8], usize)>,
    endings: Vec<(&'static [u8], usize)>,
}

static READY: LazyLock<Ready> = LazyLock::new(|| {
    let mut ready = Ready { whole: HashMap::new(), starts: Vec::new(), endings: Vec::new() };
    for (place, rule) in RULES.iter().enumerate() {
        let words = |names: &'static str| names.split_whitespace().map(str::as_bytes);
        for name in words(rule.folders).chain(words(rule.files)) {
            ready.whole.entry(name).or_insert(place);
        }
        ready.starts.extend(words(rule.starts).map(|start| (start, place)));
        ready.endings.extend(words(rule.endings).map(|ending| (ending, place)));
    }
    ready
});

/// Why a path with these parts, in lower case, is guarded by its name or by that of a folder that it is in.
pub(super) fn matching(parts: &[Vec<u8>]) -> Option<Sensitive> {
    let last = parts.len().saturating_sub(1);
    let of_part = |(at, part): (usize, &Vec<u8>)| {
        let whole = READY.whole.get(part.as_slice()).copied();
        // `dockerfiles/` and the like are folders that many projects have.
        let dotted = |start: &[u8]| at == last || start.contains(&b'.');
        let begins = |(start, _): &&(&[u8], usize)| part.starts_with(start) && dotted(start);
        let ends = |(ending, _): &&(&[u8], usize)| part.ends_with(ending);
        let starts = READY.starts.iter().filter(begins).map(|(_, place)| *place);
        let endings = READY.endings.iter().filter(ends).map(|(_, place)| *place);
        whole.into_iter().chain(starts).chain(endings).min()
    };
    let first = parts.iter().enumerate().filter_map(of_part).min()?;
    RULES.get(first).map(|rule| rule.why)
}
